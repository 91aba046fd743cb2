"""The tracker: follows spool and mail log and folds both into the journal."""
