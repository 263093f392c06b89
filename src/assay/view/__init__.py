"""The viewer: a web app over a folder of runs, profiles and comparisons.

`catalog` is what there is in the folder; `pages/` has a module a page, each with its `routes`; `frame` draws a page in
the frame that all share; `guard` says who may see and who may write; `app` puts them together and `server` serves it.

A page is made on the server, from the templates beside this file and those of the report. The policy of the pages lets
a browser run the scripts of this package alone: none that stands in a page, and no style either.
"""
