"""What an executable file tells: ELF, build info, pclntab, DWARF, Go types."""
