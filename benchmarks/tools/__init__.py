"""Tools of this project's makers, run from a checkout and not installed; users do not need them.

clip            the README's clip of rendered hands and what a file finds in them
footprint       how small and quick the runtime is, against its aims (footprint_parts: its fresh processes)
scaling         how cost grows with crop, batch, threads, processes, size
reference       exports of all shipped variants against committed sizes, errors and speeds
readme_table    tables of measured figures in README.md and docs/iphone.md
arithmetic      what files give on other CPUs, emulated
"""
