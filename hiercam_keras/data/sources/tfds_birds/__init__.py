"""iNat2021 birds as sharded files with random access, made by TFDS."""
