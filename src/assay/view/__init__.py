"""The viewer: a web app over a folder of runs, profiles and comparisons.

`catalog` lists what is in the folder. `pages/` has one module for each page, with its `routes`. `frame` draws a page in
the frame that all share. `guard` decides who may read and who may write. `app` joins them, and `server` serves the app.

The server makes each page from the templates beside this file and those of the report. The policy of the pages lets a
browser run only scripts and styles of this package, and none that is part of a page.
"""
