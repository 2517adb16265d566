import pytest

from tasks.segmentation.data.cases import ClassTable
from tasks.segmentation.data.layouts.csv import csv_cases
from tests.tasks.segmentation.conftest import misses, refuses, save, told

CLASSES = {0: "background", 255: "nucleus"}


@pytest.fixture
def root(tmp_path):
    """A folder with empty files: the cases a to d."""
    (tmp_path.parent / "out.png").touch()
    for name in "abcd":
        for end in (".png", "_x.png", "_y.png"):
            (tmp_path / f"{name}{end}").touch()
    return tmp_path


@pytest.fixture
def read(root):
    """Write a table, whose lines are separated by |, and read it."""

    def write_and_read(lines, *, classes=CLASSES, encoding="utf-8"):
        (root / "data.csv").write_text(lines.replace("|", "\n"), encoding=encoding)
        return csv_cases(root=root, classes=classes)

    return write_and_read


def test_a_row_is_a_case(read, tmp_path):
    found = read("image,mask|b.png,b_x.png|a.png,a_x.png|")
    assert told(found) == [("a", "a", None), ("b", "b", None)]
    assert found.cases[0].images == (tmp_path / "a.png",)
    assert found.cases[0].masks == (tmp_path / "a_x.png",)
    assert found.classes == ClassTable(names=("background", "nucleus"), values=((0,), (255,)))
    assert (found.source, found.channel_names) == (str(tmp_path / "data.csv"), ())


def test_names_patients_and_splits_are_taken_in_any_order_of_columns(read):
    rows = 'val, p 1 ,b_x.png,"two, b",b.png|train,p2,a_x.png,one,a.png'
    found = read(f"split,patient,mask,name,image|{rows}")
    assert told(found) == [("one", "p2", "train"), ("two, b", "p 1", "val")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("image;mask;name\na.png;a_x.png;é,1", "é,1"),
        ('image,mask,name\na.png,a_x.png,"é,1"', "é,1"),
        ("image,mask,name\na.png,a_x.png,é;y;1", "é;y;1"),
        ("sep=;\nimage;mask;name\na.png;a_x.png;é,1", "é,1"),
        ('"sep=;"\nimage;mask;name\na.png;a_x.png;é,1', "é,1"),
        ("sep=|\nimage|mask|name\na.png|a_x.png|é,1", "é,1"),
        ("image\tmask\tname\na.png\ta_x.png\té,1", "é,1"),
        ('\nimage,mask,name\na.png,a_x.png,"é,1"', "é,1"),
    ],
)
def test_a_table_as_excel_saves_it_is_read(root, text, name, encoding):
    (root / "data.csv").write_text(text, encoding=encoding)
    assert [case.name for case in csv_cases(root=root, classes=CLASSES).cases] == [name]


def test_a_cell_may_have_two_lines(read):
    found = read('image,mask,name|a.png,a_x.png,"x|y"|b.png,b_x.png,z')
    assert [case.name for case in found.cases] == ["x\ny", "z"]


def test_columns_of_masks_make_classes_that_may_overlap(read, tmp_path):
    found = read("image,mask:vessel,mask:gland|a.png,a_x.png,a_y.png", classes=None)
    names = ("vessel", "gland")
    assert found.classes == ClassTable(names=names, values=((1,), (1,)), exclusive=False)
    assert found.cases[0].masks == (tmp_path / "a_x.png", tmp_path / "a_y.png")
    with refuses(r"classes is .* but 'vessel' have masks of their own"):
        read("image,mask:vessel|a.png,a_x.png")


def test_columns_of_images_are_files_of_one_case(read, tmp_path):
    found = read("mask,image:T2,image:ADC|a_x.png,a.png,b.png")
    assert found.channel_names == ("T2", "ADC")
    assert found.cases[0].images == (tmp_path / "a.png", tmp_path / "b.png")
    assert found.cases[0].name == "a"
    assert read("image,image:ADC,mask|a.png,b.png,a_x.png").channel_names == ("image", "ADC")


def test_classes_not_given_are_the_values_of_the_masks(read, tmp_path):
    save(tmp_path / "a_x.png", [[0, 7]])
    save(tmp_path / "b_x.png", [[0, 9]])
    found = read("image,mask|a.png,a_x.png|b.png,b_x.png", classes=None)
    assert found.classes.values == ((0,), (7,), (9,))
    assert found.classes.inferred


TWO_SPLITS = "a.png,a_x.png,p,train|b.png,b_x.png,q,val|c.png,c_x.png,p,val"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("image,masks|a.png,a_x.png", r"1: column 'mask' is missing \(nearest: 'masks'\); there"),
        ("picture,mask|a.png,a_x.png", "1: column 'image' is missing; there are 'picture', 'mask'"),
        ("image,mask:|a.png,a_x.png", "1: column 'mask' is missing"),
        ("image,mask,Patient|a.png,a_x.png,p", r"1: column 'Patient' is unknown \(nearest: 'patie"),
        ("image,mask,mask|a.png,a_x.png,a_x.png", "1: column 'mask' is there twice"),
        ("image,mask,mask:x|a.png,a_x.png,a_x.png", "1: columns 'mask' and 'mask:x'; exp"),
        ("image,mask|a.png,a_x.png|b.png, ", "3, column 'mask': the cell is empty"),
        ("image,mask,patient|a.png,a_x.png,", "2, column 'patient': the cell is empty"),
        ("image,mask,name|a.png,a_x.png,", "2, column 'name': the cell is empty"),
        ("image,mask,split|a.png,a_x.png,", "2, column 'split': the cell is empty"),
        ("image,mask,split|a.png,a_x.png,Val", r"2, .*: 'Val' is no split \(nearest: 'val'\)"),
        ("image,mask,name|a.png,a_x.png,n||b.png,b_x.png,n", "4, .* the case 'n' is in line 2 alr"),
        ("image,mask|a.png,a_x.png|a.png,a_x.png", "3, column 'image': the case 'a' is"),
        (f"image,mask,patient,split|{TWO_SPLITS}", "4, .*'p' is in val, but in line 2 in train"),
        ("image,mask|a,b.png,a_x.png", "2: 3 cells for the 2 columns 'image', 'mask'"),
        ("image,mask|a.png", "2: 1 cells for the 2 columns"),
        ("image,mask|../out.png,a_x.png", r"2, column 'image': '\.\.|out' lies outside root"),
        ("image,mask,name|a.png,a_x.png,/tmp/x", "2, column 'name': '/tmp/x' lies outside"),
        ('image,mask|a.png,"a_x.png', "2: unexpected end of data. Close every"),
    ],
)
def test_a_malformed_table_is_refused_with_the_line_and_the_column(read, lines, message):
    with refuses(rf"data\.csv, line {message}"):
        read(lines)


@pytest.mark.parametrize("lines", ["image,mask", ""])
def test_a_table_without_rows_is_refused(read, lines):
    with refuses("data.csv has no rows; expected a line with the columns"):
        read(lines)


@pytest.mark.parametrize(
    ("lines", "message"),  # the line is that which an editor shows
    [
        ("image,mask|a.png,a_x.png|b.png,b_z.png", "3, column 'mask': file 'b_z.png' .*b_x.png"),
        ("image:T2,mask|no.png,a_x.png", "2, column 'image:T2': file 'no.png'"),
        ("sep=;|image;mask|a.png;z.png", "3, column 'mask': file 'z.png'"),
        ('image,mask,name|a.png,a_x.png,"x|y"|b.png,no.png,z', "4, column 'mask'"),
    ],
)
def test_missing_files_are_named_with_the_line(read, lines, message):
    with misses(f"line {message}"):
        read(lines)


def test_a_missing_table_and_another_encoding_are_refused_with_what_to_do(read, tmp_path):
    with refuses(r"data.csv: line 2 has the byte 0xe9.*expected UTF-8"):
        read("image,mask,name|a.png,a_x.png,é", encoding="cp1252")
    with misses(r"CSV file .*does not exist; .*\(nearest: 'data.csv'\)"):
        csv_cases(root=tmp_path, file="date.csv")


def test_a_path_of_windows_is_read_where_that_is_the_file(read, tmp_path):
    files = tmp_path / "x/1.png", tmp_path / "x/1_m.png"
    for file in files:
        save(file, [[0]])
    (case,) = read(r"image,mask|x\1.png,.\x\1_m.png").cases
    assert (case.name, *case.images, *case.masks) == ("x/1", *files)


@pytest.mark.parametrize(
    "path", [r"C:\data\a.png", "../x/a.png", r"..\x\a.png", "images/a.png", "/no/a.png", "A.png"]
)
def test_a_path_that_is_not_there_is_shown_as_given_and_its_file_is_found(read, tmp_path, path):
    with pytest.raises(FileNotFoundError) as caught:
        read(f"image,mask|{path},a_x.png")
    said = str(caught.value)
    assert f"line 2, column 'image': file '{path}' does not exist" in said
    assert f"'{tmp_path}' holds 'a.png': " in said
