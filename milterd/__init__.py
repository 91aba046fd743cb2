"""The writers: the milter that faces the MTA, and the tracker that follows the log."""
