"""``posttrail setup``: the lines of the mail server's configuration that posttrail needs."""
