"""Making sets from the layouts that their authors publish."""
