"""Turns unpacked packages into plain text documents: the cleaning half of scripts/corpus.

    corpus_text.py shakespeare|bible|manpages|python INPUT OUTPUT

Writes OUTPUT/train/NAME.txt and OUTPUT/valid/NAME.txt. The same input always gives the same bytes.
"""

import gzip
import hashlib
import html.parser
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

VALIDATION_PLAYS = {"hamlet", "henry_v", "twelfth_night"}
SHORTEST_DOCUMENT = 200  # characters; below that a page is a redirection or a menu

# Sections of manual pages that are the same on every page: authors, licence, where to report bugs.
BOILERPLATE_SECTIONS = {
    title.casefold()
    for title in (
        "AUTHOR|AUTHORS|COPYRIGHT|COPYING|LICENSE|REPORTING BUGS|作者|著者|作成者|著作権|著作権表示|"
        "ライセンス|配布|免責|謝辞|翻訳者謝辞|翻訳|翻訳者|日本語訳|バグ報告|入手方法|この文書について|読者へのご注意|"
        "TEKIJÄ|TEKIJÄT|TEKIJÄNOIKEUDET|KÄÄNNÖS|VIRHEISTÄ ILMOITTAMINEN|"
        "TÁC GIẢ|BẢN QUYỀN|DỊCH|THÔNG BÁO LỖI"
    ).split("|")
}
# What the comment block of a licence says in code.
LICENCE = re.compile(r"copyright|\blicen[cs]ed?\b|all rights reserved", re.IGNORECASE)
# A statement of copyright, rather than talk about one, and the conditions that follow it.
STATEMENT = re.compile(
    r"(copyright|©|\(c\)) *(copyright|\(c\)|©|[12]\d\d\d|cnri)|redistributions? (of source|in binary)"
    r"|copyright notice|permission (is|to) .*granted|provided .?as is",
    re.IGNORECASE,
)
PAGE_EDGE = " " * 20  # what separates the fields of a manual page's header and footer


def is_validation(name):
    """About one document in 20, by the hash of its name, so that a changed package moves no other."""
    return hashlib.sha256(name.encode()).digest()[0] % 20 == 0


def write_documents(documents, output, in_validation=is_validation):
    """documents: {name: text}. A text under two names is written once, under the first, or it could
    stand in both parts. Both parts must get at least one document."""
    counts = {"train": 0, "valid": 0}
    written = set()
    for name, text in sorted(documents.items()):
        if text in written:
            continue
        written.add(text)
        part = "valid" if in_validation(name) else "train"
        path = output / part / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((text.strip("\n") + "\n").encode())
        counts[part] += 1
    if not all(counts.values()):
        sys.exit(f"corpus: a part is empty: {counts['train']} training, {counts['valid']} validation")


def shakespeare(folder):
    """The modern texts. The folio texts (`*_gut_f.txt`), under whatever spelling of the title, have
    the same lines in old orthography and would tell a model the validation plays: all stay out."""
    documents = {
        path.name.removesuffix("_gut.txt"): path.read_text(encoding="utf-8")
        for path in folder.glob("*_gut.txt")
    }
    missing = VALIDATION_PLAYS - documents.keys()
    if missing:
        sys.exit(f"corpus: the package has no text of {', '.join(sorted(missing))}")
    return documents


def bible(dump):
    """One document a book, from the program's printout: a line `Genesis 1` before each chapter."""
    documents = {}
    for line in dump.read_text(encoding="utf-8").splitlines():
        heading = re.fullmatch(r"((?:\d )?[A-Z][A-Za-z ]*[a-z]) (\d+)", line)
        if heading:
            lines = documents.setdefault(heading[1].lower().replace(" ", "_"), [])
        elif not documents and line.strip():
            sys.exit(f"corpus: the Bible begins with an unknown line: {line!r}")
        if documents:
            lines.append(line.strip())
    return {name: "\n".join(lines) for name, lines in documents.items()}


def render_manual_page(path):
    """Plain text of one gzipped page; paragraphs are single lines, so no hyphens and no filling."""
    source = gzip.decompress(path.read_bytes())
    if source.startswith(b".so "):  # another name of a page
        return ""
    options = "-K utf8 -t -mandoc -mja -Tutf8 -P-c -P-b -P-u -rLL=8000n -rHY=0 -rcR=1".split()
    # Pages with flaws of their own make groff warn; what it prints is still the page.
    printed = subprocess.run(
        ["groff", *options], input=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return clean_manual_page(printed.stdout.decode(errors="replace"))


def clean_manual_page(text):
    """Without page header and footer, boilerplate sections, and spaces between Japanese letters."""
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text):  # struck over: nothing to be read here
        return ""
    lines = text.strip("\n").split("\n")
    lines = lines[PAGE_EDGE in lines[0] : len(lines) - (PAGE_EDGE in lines[-1])]
    kept, skipping = [], False
    for line in lines:
        if line and not line[0].isspace():
            skipping = line.strip().casefold() in BOILERPLATE_SECTIONS
        if not skipping:
            kept.append(line.rstrip())
    paragraphs = re.split(r"\n{2,}", "\n".join(kept))
    text = "\n\n".join(p for p in paragraphs if not STATEMENT.search(p))
    japanese = "[\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]"
    return re.sub(f"(?<={japanese}) (?={japanese})", "", text)


class PageText(html.parser.HTMLParser):
    """Collects the text of a DocBook page without its head, navigation and legal notice."""

    BLOCKS = {"p", "div", "li", "dt", "dd", "tr", "h1", "h2", "h3", "h4", "pre", "br", "table"}
    VOID = {"br", "hr", "img", "link", "meta", "col", "input"}
    DROPPED = {"navheader", "navfooter", "legalnotice", "copyright", "toc"}

    def __init__(self):
        super().__init__()
        self.parts = []
        self.open_tags = []  # (tag, whether its text is dropped, whether spaces stay as they are)

    def handle_starttag(self, tag, attrs):
        if tag in self.BLOCKS:
            self.parts.append("\n")
        if tag in self.VOID:
            return
        _, dropped, verbatim = self.open_tags[-1] if self.open_tags else ("", False, False)
        dropped = dropped or tag == "head" or dict(attrs).get("class") in self.DROPPED
        self.open_tags.append((tag, dropped, verbatim or tag == "pre"))

    def handle_endtag(self, tag):
        if tag in self.BLOCKS:
            self.parts.append("\n")
        if tag in [entry[0] for entry in self.open_tags]:
            while self.open_tags.pop()[0] != tag:
                pass

    def handle_data(self, data):
        _, dropped, verbatim = self.open_tags[-1] if self.open_tags else ("", False, False)
        if not dropped:
            self.parts.append(data if verbatim else re.sub(r"\s+", " ", data))

    def text(self):
        lines = [line.rstrip() for line in "".join(self.parts).split("\n")]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def html_text(source):
    page = PageText()
    page.feed(source)
    page.close()
    return page.text()


def manpages(share):
    """share: usr/share of the unpacked packages of one language."""
    pages = sorted(p for p in share.glob("man/*/man*/*.gz") if not p.is_symlink())
    with ThreadPoolExecutor() as pool:
        texts = list(pool.map(render_manual_page, pages))
    documents = {path.name.removesuffix(".gz"): text for path, text in zip(pages, texts)}
    for path in sorted(share.glob("doc/aptitude/html/*/*.html")):
        documents[f"aptitude.{path.stem}"] = html_text(path.read_text(encoding="utf-8"))
    return {name: text for name, text in documents.items() if len(text) >= SHORTEST_DOCUMENT}


def strip_licence_comments(code):
    """Drops every block of comment lines that speaks of copyright or licence, the string that holds
    a module's licence, and single lines of copyright elsewhere (they stand in docstrings)."""

    def keep_or_drop(block):
        return "" if LICENCE.search(block[0]) else block[0]

    code = re.sub(r"(?:^[ \t]*#.*\n)+", keep_or_drop, code, flags=re.MULTILINE)
    code = re.sub(r'^__copyright__ = """.*?"""\n', "", code, flags=re.MULTILINE | re.DOTALL)
    lines = code.splitlines(keepends=True)
    return "".join(line for line in lines if '"""' in line or not STATEMENT.search(line))


def python(library):
    documents = {}
    for path in sorted(library.rglob("*.py")):
        if not path.is_file() or path.is_symlink():
            continue
        try:
            code = strip_licence_comments(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:  # a module in an encoding of its own is not worth guessing
            continue
        if len(code) >= SHORTEST_DOCUMENT:
            documents[".".join(path.relative_to(library).with_suffix("").parts)] = code
    return documents


def main(kind, source, output):
    makers = {"shakespeare": shakespeare, "bible": bible, "manpages": manpages, "python": python}
    documents = makers[kind](Path(source))
    if kind == "shakespeare":
        write_documents(documents, Path(output), VALIDATION_PLAYS.__contains__)
    else:
        write_documents(documents, Path(output))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
