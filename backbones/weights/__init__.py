"""Weight files: from a tag, a path or an address to a loaded backbone.

In reading order: `locate`, `download`, `hub` (where the file is); `read`, `formats`,
`numpy_pickle` (bytes to tensors); `unwrap`, `origins`, `renames` (who wrote it, and our names);
`conventions`, `metadata` (the images it expects); `identify` (all of that for one file);
`architecture`, `check` (does it fit); `load`.
"""
