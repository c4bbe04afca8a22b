"""Files that other software reads, made of a stored forecast or of a part of it: NetCDF and GRIB 2."""
