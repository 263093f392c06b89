"""The functions and results of `import assay`. Functions take a name or an object; results show themselves."""
