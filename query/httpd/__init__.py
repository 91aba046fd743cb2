"""posttrail-queryd: the same answers over HTTP, for whoever is who they say they are."""
