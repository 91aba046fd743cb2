"""posttrail-hookd: tells other programs what became of mail, by webhook or by a command."""
