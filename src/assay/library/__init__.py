"""What `import assay` gives: functions that take a name or an object, and results that show themselves."""
