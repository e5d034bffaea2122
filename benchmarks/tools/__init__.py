"""Tools of this project's makers; users do not need them."""
