"""Everything that checks fastrpc."""
