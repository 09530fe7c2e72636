"""From a bundle to what an application takes: folders for C++, Python, Triton and DeepStream, signed and packed.

A package is a folder with `package.json`, which lists every other file with its sha256 (`contents`). It may be signed
(`signature`) and packed into one archive (`archive`). `write` makes it from a bundle, in one of the forms that `forms`
lays out from the files in `templates/`. `check` is the way back: who vouches for it, and whether every byte is the one
that was signed.
"""
