"""The address trace: which ways mail to an address will take, as the MTA itself sees it."""
