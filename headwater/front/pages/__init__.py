"""The pages for people: server-rendered, one stylesheet, one script, nothing from another machine.

`present` says what a page shows, `render` makes HTML of it (the only importer of jinja2), `browse` and `account` are
the handlers that ask rooms and fill the values, `markdown` makes safe HTML of cards. Works without JavaScript; refuses
to know how anything is stored, and trusts no text: names, messages and cards are hostile.
"""
