"""Tools of this project's makers, run from a checkout and not installed: the README's clip and tables of figures."""
