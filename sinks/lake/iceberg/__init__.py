"""The table format: the only package that imports PyIceberg."""
