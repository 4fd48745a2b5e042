"""prunus: find the small network inside a big one, show that it holds, ship it as a small file."""
