"""Say where the image files of a data set are, if not where it names them."""

from tasks.common.files.paths import is_there, not_found
from tasks.detection.data.annotations import Annotations


def missing_text(annotations: Annotations) -> str:
    """Return a sentence on the first image file that is missing, with a space; empty without any.

    The path is shown as the data set writes it, with what there is in its place.

    Args:
        annotations: A split.
    """
    lost = next((record for record in annotations.images if not is_there(record.path)), None)
    if lost is None:
        return ""
    folder, name = annotations.image_folder, lost.file_name
    if folder is None or not name:
        folder, name = lost.path.parent, lost.path.name
    text = not_found(folder, name, what="image")
    return f"{text[0].upper()}{text[1:]} "
