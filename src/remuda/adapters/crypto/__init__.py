"""Keys and hashes through cryptography, joserfc and argon2."""
