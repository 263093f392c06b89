"""The pages of the viewer, a module each; `routes` of each is what the app serves."""
