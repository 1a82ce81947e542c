"""Cards as HTML: what is shown, and T50's half about Markdown: nothing runs, styles, submits or loads from elsewhere."""

from __future__ import annotations

import random
import time
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from headwater.front.pages import markdown

LINKS = "/ns/repo/blob/main/"
IMAGES = "/ns/repo/resolve/main/"

ATTRIBUTES = {
    "id", "title", "href", "rel", "src", "alt", "width", "height", "align", "loading", "class", "colspan", "rowspan",
    "start", "open", "tabindex",
}  # fmt: skip
FORBIDDEN = {
    "script", "style", "svg", "math", "iframe", "object", "embed", "form", "input", "button", "textarea", "select",
    "link", "meta", "base", "template", "video", "audio", "source", "noscript", "title", "frame", "frameset",
}  # fmt: skip


class Judge(HTMLParser):
    """Reads the result as a browser would and objects to whatever could act."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in FORBIDDEN, tag
        if tag not in ("br", "hr", "img", "wbr", "col"):
            self.open.append(tag)
        for name, value in attrs:
            assert name in ATTRIBUTES, (tag, name, value)
            assert value is not None
            if name == "id":
                assert value.startswith("user-content-")
            if name == "href":
                assert urlsplit(value).scheme in ("", "http", "https", "mailto"), value
                assert not value.startswith(("//", "\\", "/\\")), value
            if name == "src":
                assert tag == "img"
                assert value.startswith(IMAGES), value
                assert ".." not in unquote(urlsplit(value).path).split("/"), value
            if name == "class":
                assert tag in ("code", "li", "blockquote")
                assert value.startswith(("language-", "alert-", "card-task"))
            if name == "tabindex":
                assert (tag, value) == ("pre", "0")
        external = any(name == "href" and (value or "").startswith("http") for name, value in attrs)
        if external:
            assert ("rel", "nofollow noopener") in attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def shown(text: str) -> str:
    html = markdown.render(text, link_base=LINKS, image_base=IMAGES)
    Judge(html)
    return html.strip()


def test_headings_text_lists_and_code_are_shown() -> None:
    assert shown("# Hello *World*!\n\ntext\n\n- a\n") == (
        '<h1 id="user-content-hello-world">Hello <em>World</em>!</h1>\n<p>text</p>\n<ul>\n<li>a</li>\n</ul>'
    )


def test_tables_are_aligned_without_styles() -> None:
    html = shown("|a|b|\n|--:|---|\n|1|~~2~~|")
    assert '<th align="right">a</th>\n<th>b</th>' in html
    assert '<td align="right">1</td>\n<td><s>2</s></td>' in html


def test_code_keeps_its_language_and_its_text() -> None:
    assert shown('```python x="y"\nif a < b: "&amp;"\n```') == (
        '<pre tabindex="0"><code class="language-python">if a &lt; b: "&amp;amp;"\n</code></pre>'
    )


def test_headings_of_the_same_words_get_different_ids() -> None:
    html = shown("# A b\n# A `b`\n# ???\n")
    assert html == '<h1 id="user-content-a-b">A b</h1>\n<h1 id="user-content-a-b-1">A <code>b</code></h1>\n<h1>???</h1>'


def test_links_within_the_page_find_their_headings() -> None:
    assert shown("[x](#a-b)") == '<p><a href="#user-content-a-b">x</a></p>'
    assert shown('<a name="here"></a>') == '<p><a id="user-content-here"></a></p>'


@pytest.mark.parametrize(
    ("url", "href"),
    [
        ("docs/a.md", LINKS + "docs/a.md"),
        ("./a.md#x", LINKS + "a.md#x"),
        ("../dev/a.md", "/ns/repo/blob/dev/a.md"),
        ("/other/repo", "/other/repo"),
        ("mailto:a@b.c", "mailto:a@b.c"),
    ],
)
def test_relative_links_are_resolved(url: str, href: str) -> None:
    assert shown(f"[x]({url})") == f'<p><a href="{href}">x</a></p>'
    assert shown(f'<a href="{url}">x</a>') == f'<p><a href="{href}">x</a></p>'


def test_external_links_pass_nothing_on() -> None:
    assert shown("[x](https://e.com/?a&b)") == ('<p><a href="https://e.com/?a&amp;b" rel="nofollow noopener">x</a></p>')
    assert shown('<a href="//e.com" rel="opener" target="_top">x</a>') == (
        '<p><a href="https://e.com" rel="nofollow noopener">x</a></p>'
    )


def test_addresses_of_the_hub_get_its_path_prefix() -> None:
    text = "[a](/ada/b) [c](/hub/ada/b) ![d](/ns/r/resolve/main/d.png) [e](//e.com) [f](b)"
    bases = {"link_base": "/hub/ns/r/blob/main/", "image_base": "/hub/ns/r/resolve/main/"}
    html = markdown.render(text, **bases, root="/hub")
    assert html.count('href="/hub/ada/b"') == 2
    assert '<img src="/hub/ns/r/resolve/main/d.png"' in html
    assert 'href="https://e.com"' in html
    assert 'href="/hub/ns/r/blob/main/b"' in html


def linked(url: str) -> str:
    return f'<a href="{url}" rel="nofollow noopener">{url}</a>'


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("see https://e.com/a_b_c.", f"see {linked('https://e.com/a_b_c')}."),
        ("(http://e.com/x)", f"({linked('http://e.com/x')})"),
        ("https://e.com/x_(y)", linked("https://e.com/x_(y)")),
        ("www.e.com!", '<a href="http://www.e.com" rel="nofollow noopener">www.e.com</a>!'),
        ("\u8bf7\u770bhttps://e.com\u3002\u8bf7", f"\u8bf7\u770b{linked('https://e.com')}\u3002\u8bf7"),
        ("https:// a@www.e.com xhttps://e.com", "https:// a@www.e.com xhttps://e.com"),
        ("`https://e.com`", "<code>https://e.com</code>"),
        ("[https://e.com](https://e.com)", linked("https://e.com")),
        ('<a href="https://e.com">https://e.com</a>', linked("https://e.com")),
        ("https://" + "e" * 1000, "https://" + "e" * 1000),
    ],
)
def test_bare_addresses_are_links(text: str, html: str) -> None:
    assert shown(text) == f"<p>{html}</p>"


def test_tasks_have_boxes() -> None:
    assert shown("- [ ] a\n- [x] *b*\n- [y] c\n- [ ](d)") == (
        '<ul>\n<li class="card-task">\u2610 a</li>\n<li class="card-task">\u2611 <em>b</em></li>\n<li>[y] c</li>\n'
        f'<li><a href="{LINKS}d"> </a></li>\n</ul>'
    )


def test_alerts_say_what_they_are() -> None:
    assert shown("> [!WARNING]\n> Read *this*.") == (
        '<blockquote class="alert-warning">\n<p><strong>Warning</strong><br>\nRead <em>this</em>.</p>\n</blockquote>'
    )
    assert "class" not in shown("> [!NOTE] and so on\n\n> [!OTHER]\n> x")


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a $x_i*y_j*z$, $b$.", "a <code>$x_i*y_j*z$</code>, <code>$b$</code>."),
        ("$$\\frac{a}{b} \\\\ *c*$$ d", "<code>$$\\frac{a}{b} \\\\ *c*$$</code> d"),
        (r"\\(a_1 * b_1\\) \\[c\\]", r"<code>\(a_1 * b_1\)</code> <code>\[c\]</code>"),
        ("from $5 to $6, US$7 or $HOME/$USER", "from $5 to $6, US$7 or $HOME/$USER"),
        ("`$a$` \\$b\\$", "<code>$a$</code> $b$"),
        ("$$$$ $$never", "$$$$ $$never"),
    ],
)
def test_formulas_are_shown_as_they_were_written(text: str, html: str) -> None:
    assert shown(text).removeprefix("<p>").removesuffix("</p>") == html


def test_formulas_of_several_lines_are_one_block() -> None:
    html = shown("so\n$$\na\n+ b \\\\\n= c\n$$\nthus\n\n- d\n  $$e$$\n\n$$f\n\ng")
    assert '<p>so</p>\n<pre tabindex="0"><code>$$\na\n+ b \\\\\n= c\n$$\n</code></pre>\n<p>thus</p>' in html
    assert '<li>d<pre tabindex="0"><code>$$e$$\n</code></pre>\n</li>' in html
    assert html.endswith("<p>$$f</p>\n<p>g</p>")


def test_images_of_the_repo_are_shown() -> None:
    assert shown("![a b](img/a.png)") == f'<p><img src="{IMAGES}img/a.png" alt="a b" loading="lazy"></p>'
    assert shown('<img src="a.png" width="50%" height="9em" align="right">') == (
        f'<img src="{IMAGES}a.png" alt="" width="50%" align="right" loading="lazy">'
    )


def test_images_from_elsewhere_become_links_or_text() -> None:
    link = '<a href="https://e.com/a.png" rel="nofollow noopener">'
    assert shown("![my <i>](https://e.com/a.png)") == f"<p>{link}my &lt;i&gt;</a></p>"
    assert shown('<img src="https://e.com/a.png">') == f"{link}image</a>"
    assert shown("[![badge](https://e.com/a.png)](https://e.com)") == (
        '<p><a href="https://e.com" rel="nofollow noopener">badge</a></p>'
    )


def test_absolute_bases_work() -> None:
    html = markdown.render(
        "[a](b) ![c](d)", link_base="https://hub/p/ns/r/blob/main/", image_base="https://hub/p/ns/r/resolve/main/"
    )
    assert '<a href="https://hub/p/ns/r/blob/main/b">a</a>' in html
    assert '<img src="https://hub/p/ns/r/resolve/main/d"' in html


def test_raw_html_as_cards_use_it_is_kept() -> None:
    text = '<div align="center">\n<h1 id="x">T</h1>\n<details open><summary>S</summary>\n\n**b**\n\n</details></div>'
    html = shown(text)
    assert '<div align="center">\n<h1 id="user-content-x">T</h1>\n<details open=""><summary>S</summary>' in html
    assert "<strong>b</strong>" in html


def test_sloppy_html_tables_are_mended() -> None:
    assert shown("<table><tr><td>a<td colspan=2>b<tr><td>c</b></table>after") == (
        '<table><tbody><tr><td>a</td><td colspan="2">b</td></tr><tr><td>c</td></tr></tbody></table>after'
    )


def test_what_is_not_markup_stays_text() -> None:
    assert shown("a < b && 1 <2 <3 x</") == "<p>a &lt; b &amp;&amp; 1 &lt;2 &lt;3 x&lt;/</p>"


@pytest.mark.parametrize(
    "text",
    [
        "<embed src=x>",
        "<iframe src=x/>",
        "<iframe\nsrc='x' />",
        "<video src=x/>",
        "<svg/>",
        "<svg onload=x />",
        "<object data=x/>",
    ],
)
def test_an_element_that_has_no_content_takes_none_of_the_card_along(text: str) -> None:
    html = shown(f"before\n\n{text}\n\n# After")
    assert html.startswith("<p>before</p>")
    assert html.endswith("After</h1>")


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>", "<script>alert(1)", "<ScRiPt src=//e.com/x.js></sCrIpT >", "<script\n>alert(1)</script>",
        "<scr<script>ipt>alert(1)</scr</script>ipt>", "</p><script>alert(1)</script>", "<script/x>alert(1)</script>",
        "*a*<script>alert(1)</script>", "- <script>\n  alert(1)\n  </script>", "> <script>\nalert(1)", "`<script>`<script>",
        "<!--><script>alert(1)</script>-->", "<!--a--!><script>alert(1)</script>", "<![CDATA[<script>alert(1)</script>]]>",
        "<?x <script>alert(1)</script> ?>", "<noscript><p title='</noscript><script>alert(1)</script>'>", "<x/><script>",
    ],
)  # fmt: skip
def test_T50_scripts_are_removed(text: str) -> None:
    assert "<script" not in shown(text).lower()


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)>", '<img src="a.png" onload="alert(1)">', "<b onmouseover=alert(1)>b</b>",
        '<a href="a" onclick="alert(1)">', "<div/onclick=alert(1)>", "<details open ontoggle=alert(1)>", "<p autofocus onfocus=x>",
        '<img alt="`><script>alert(1)</script>" src=a>', "<img src='x' title='\"onerror=alert(1) '>",
        '![a"onerror="alert(1)](x.png)', '[a](x "t\\"onclick=\\"alert(1)")', '```a"onclick=alert(1)\nx\n```',
        '<p ="><img src=x onerror=alert(1)>">', "<p x=' \"' onclick='\"'>", "<a\x00href=x onclick=1>",
    ],
)  # fmt: skip
def test_T50_event_handlers_are_removed(text: str) -> None:
    shown(text)  # the judge lets no such attribute through


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "java&#9;script:alert(1)",
        "&#106;avascript:alert(1)", "&#x6A&#x61vascript:alert(1)", "javascript&colon;alert(1)", "\x01javascript:alert(1)",
        "vbscript:x", "data:text/html,<script>alert(1)</script>", "data:image/svg+xml;base64,PHN2Zz4=", "file:///etc/passwd",
        "blob:x", "feed:javascript:x", "jar:x", "view-source:x", "about:blank", "ftp://e.com", "%6aavascript:x&#58;",
    ],
)  # fmt: skip
def test_T50_urls_of_other_schemes_are_removed(url: str) -> None:
    for text in (
        f'<a href="{url}">x</a>',
        f'<img src="{url}">',
        f"[x]({url})",
        f"![x]({url})",
        f"<{url}>",
        f"[x]\n\n[x]: {url}",
    ):
        shown(text)  # the judge knows which schemes may be


@pytest.mark.parametrize(
    "text",
    [
        "<style>*{background:url(//e.com)}</style>", "<style>@import '//e.com'", '<p style="background:url(//e.com)">x</p>',
        '<link rel=stylesheet href="//e.com">', '<div style="position:fixed;inset:0">x</div>', '<table background="//e.com">',
        '<td background="//e.com">', '<p class="btn btn-danger">x</p>', '<code class="language-a btn">x</code>',
        "<svg><style>*{x:url(//e.com)}</style></svg>", '<body background="//e.com">', '<font face="x" style="y">z</font>',
    ],
)  # fmt: skip
def test_T50_css_cannot_reach_out(text: str) -> None:
    html = shown(text)
    assert "e.com" not in html
    assert "style" not in html
    assert "class" not in html


@pytest.mark.parametrize(
    "text",
    [
        "<svg onload=alert(1)>", "<svg><script>alert(1)</script></svg>", '<svg><a xlink:href="javascript:x"><text>x</a>',
        "<svg><animate attributeName=href values=javascript:x />", '<svg><use href="data:image/svg+xml,x"/></svg>',
        '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">',
        "<math><mtext><img src onerror=alert(1)></mtext></math>", '<math href="javascript:x">CLICK</math>',
        "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
        '<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">', '<svg><p><style><g title="</style><img src onerror=x>">',
        '<math><annotation-xml encoding=text/html><style><img title="</style><img src onerror=x>">',
        '<table><math><td><mglyph><style><!--</style><img title="--><img src onerror=x>">',
        "<svg><foreignobject><iframe src=x></svg>", "<svg/onload=alert(1)//<p>", "<noembed><img title='</noembed><img src onerror=x>'>",
        "<xmp><p title='</xmp><img src=x onerror=alert(1)>'>", "<template><img src onerror=x></template>",
        "<select><iframe></select><img src onerror=x>", "<textarea><img title='</textarea><img src onerror=x>'></textarea>",
    ],
)  # fmt: skip
def test_T50_svg_and_mathml_mutations_do_not_survive(text: str) -> None:
    shown(text)


@pytest.mark.parametrize(
    "text",
    [
        "<iframe src=//e.com></iframe>", "<form action=//e.com><input name=a><button>b</button></form>", "<base href=//e.com>",
        "<meta http-equiv=refresh content='0;url=//e.com'>", "<object data=//e.com></object>", "<embed src=//e.com>",
        "<video src=//e.com poster=//e.com></video>", "<audio src=//e.com>", "<picture><source srcset=//e.com></picture>",
        "<img srcset='//e.com 2x'>", "<input type=image src=//e.com>", "<q cite=//e.com>x</q>", "<a ping=//e.com>x</a>",
        "<link rel=dns-prefetch href=//e.com>", "<isindex action=//e.com>", "<frameset><frame src=//e.com></frameset>",
    ],
)  # fmt: skip
def test_T50_nothing_loads_or_submits_elsewhere(text: str) -> None:
    assert "e.com" not in shown(text)


@pytest.mark.parametrize(
    "url",
    [
        "//e.com/a.png", "https://e.com/a.png", "\\\\e.com\\a.png", "/\\e.com/a.png", "http:/e.com", "https:e.com", " //e.com",
        "/\t/e.com/a.png", "/..//e.com/a", "..//..//..//..//e.com", "../../../../api/logout", "%2e%2e/%2E%2E/api", "..\\..\\api",
        "/api/whoami", "/ns/repo/resolve/main/../../../api", f"{IMAGES}%2e%2e/x", "", "https://[", "//[", "mailto:a",
        "../../../../..//e.com",
    ],
)  # fmt: skip
def test_T50_no_image_is_loaded_but_the_repos_own(url: str) -> None:
    assert "<img" not in shown(f'<img src="{url}">')
    shown(f"![x](<{url}>)")  # where a backslash is part of a name; the judge knows what may be loaded


@pytest.mark.parametrize("name", ["login", "user-content-login"])
def test_T50_ids_cannot_be_mistaken_for_the_pages_own(name: str) -> None:
    assert shown(f'<p id="{name}">x</p>') == '<p id="user-content-login">x</p>'


def test_T50_random_rubbish_comes_out_harmless() -> None:
    dice = random.Random(50)
    pieces = (
        "<script>", "</script>", "<style>", "</style>", "<svg>", "</svg>", "<math>", "<mtext>", "<table>", "<tr>", "<td>", "</td>",
        "</table>", "<p>", "</p>", "<a href='", "'>", '">', "<img src=x ", "onerror=alert(1) ", 'title="', "<!--", "-->", "--!>",
        "<b>", "</b>", "<li>", "<ul>", "</ul>", "`", "```\n", "\n\n", "[", "](", "javascript:x", ")", "![", "<", ">", "/", "=", '"',
        "'", "&lt;", "&quot;", "\x00", "<noscript>", "</noscript>", "<textarea>", "</textarea>", "<x-y z>", "<![CDATA[", "]]>", "<?",
        "<title>", "</title>", "<template>", "<select>", "<option>", "<iframe srcdoc='", "<h1 id=a>", "</h1>", "<dl><dt>", "<dd>", "    ",
    )  # fmt: skip
    for _ in range(2000):
        shown("".join(dice.choice(pieces) for _ in range(dice.randint(1, 25))))


def test_long_text_is_cut_at_a_line_and_says_so() -> None:
    html = shown("some words\n" * (markdown.MARKS_MAX + 1))
    assert html.endswith("too long to be shown here.</em></p>")
    assert html.count("some words\n") == markdown.MARKS_MAX - 1
    assert len(shown("x" * (markdown.CHARS_MAX + 1))) < markdown.CHARS_MAX + 200
    assert "too long" not in shown("x" * markdown.CHARS_MAX)


def test_half_surrogate_pairs_are_shown_as_unknown() -> None:
    assert shown("a\ud800b") == "<p>a?b</p>"


@pytest.mark.parametrize(
    ("once", "again"),
    [
        ("", "<div>"), ("", "<b>"), ("", "> "), ("", "- "), ("", "["), ("", "*a **b "), ("", '<a ="'), ("", "<!--"), ("", "<script>"),
        ("", "a\n"), ("", "{"), ("", "<b><table><td></b></table>"), ("", '<p = "><b id=1><p = ">'),
        ("<p>" + "<b>" * 60, "<p>x</p>"), ("<ul><li>" + "<b>" * 60, "<li>x</li>"), ("<p>" + "<b>" * 60 + "<td>", "<p>x</p>"),
        (f"[a]: /{'u' * 500_000}\n\n", "[a] "), (f"[a]: /u '{'t' * 500_000}'\n\n", "[a] "),
        (f"[a]: /{'u' * 900} '{'t' * 290}'\n\n", "[a] "),
        ("|a" * 300 + "|\n" + "|-" * 300 + "|\n", "x\n"), ("", "|a" * 100 + "|\n" + "|-" * 100 + "|\n" + "x\n" * 200 + "\n"),
        ("> ", "|a|b\n> |-|-\n> x\n> \n> "), ("", "|a\n|-\n"),
        ("", "https://e.com/a "), ("", "https://a" + ")" * 900 + " "), ("https://a", "?"), ("", "www."),
        ("", "> [!NOTE]\n> a\n\n"), ("", "<svg "), ("", "<svg a>"), ("", "<iframe/>"),
        ("", "$$a\n"), ("", "\\\\\\\\(a "),
    ],
    ids=range(33),
)  # fmt: skip
def test_T50_a_megabyte_of_anything_takes_seconds_at_most_and_does_not_grow(once: str, again: str) -> None:
    text = (once + again * (markdown.CHARS_MAX // len(again)))[: markdown.CHARS_MAX]
    before = time.process_time()
    html = markdown.render(text, link_base=LINKS, image_base=IMAGES)
    assert time.process_time() - before < 5  # up to 1.5 measured
    assert len(html) < 2 * markdown.OUTPUT_CHARS_MAX


def test_tables_beyond_the_limit_of_cells_stay_text() -> None:
    head = "|a" * 100 + "|\n" + "|-" * 100 + "|\n"
    html = shown(head + "x\n" * 100 + "\n" + head + "x\n" * 500)
    assert html.count("<table>") == 1
