"""scripts/corpus_text.py: what is kept, what is cleaned away, and the split."""

import gzip
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import corpus_text  # noqa: E402


def files_under(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.txt"))
    }


class InFolder(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def put(self, files):
        for name, content in files.items():
            path = self.folder / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return self.folder / "in"

    def make(self, kind, source):
        corpus_text.main(kind, str(source), str(self.folder / "out"))
        return files_under(self.folder / "out")


class Shakespeare(InFolder):
    TEXTS = {
        "hamlet_gut.txt": "HAMLET\n",
        "hamlet_gut_f.txt": "The Tragedie of Hamlet\n",
        "henry_v_gut.txt": "HENRY V\n",
        "twelfth_night_gut.txt": "TWELFTH NIGHT",
        "twelfe-night_gut_f.txt": "Twelfe Night\n",
        "lear_gut.txt": "KING LEAR\n\n",
        "lear_gut_f.txt": "The Tragedie of King Lear\n",
        "metadata.txt": "[hamlet]\n",
    }

    def test_three_plays_are_held_out_and_folio_texts_are_on_no_side(self):
        self.assertEqual(
            self.make("shakespeare", self.put(self.TEXTS)),
            {
                "train/lear.txt": "KING LEAR\n",
                "valid/hamlet.txt": "HAMLET\n",
                "valid/henry_v.txt": "HENRY V\n",
                "valid/twelfth_night.txt": "TWELFTH NIGHT\n",
            },
        )

    def test_a_package_without_a_held_out_play_is_refused(self):
        texts = {name: text for name, text in self.TEXTS.items() if name != "henry_v_gut.txt"}
        with self.assertRaisesRegex(SystemExit, "no text of henry_v"):
            self.make("shakespeare", self.put(texts))


class Split(InFolder):
    def test_the_side_depends_on_the_name_alone_and_about_one_in_20_is_validation(self):
        names = [f"page{i}" for i in range(2000)]
        share = sum(map(corpus_text.is_validation, names)) / len(names)
        self.assertAlmostEqual(share, 1 / 20, delta=0.015)  # 3 standard deviations
        self.assertEqual(
            [name for name in names[:60] if corpus_text.is_validation(name)],
            ["page11", "page31", "page33"],  # moving a document to the other side is no small change
        )

    def test_equal_texts_are_written_once(self):
        documents = {"a": "same\n", "b": "same\n", "c": "other"}
        corpus_text.write_documents(documents, self.folder, lambda name: name == "c")
        self.assertEqual(files_under(self.folder), {"train/a.txt": "same\n", "valid/c.txt": "other\n"})

    def test_an_empty_side_is_refused(self):
        with self.assertRaisesRegex(SystemExit, "a part is empty: 1 training, 0 validation"):
            corpus_text.write_documents({"a": "text"}, self.folder, lambda name: False)


class Bible(InFolder):
    def test_a_book_is_a_document_and_keeps_its_chapters(self):
        dump = "\nGenesis 1\n\n  1 In the beginning\n  2 And\n\nGenesis 2\n\n  1 Thus\n\n1 Samuel 1\n\n  1 Now\n"
        path = self.put({"dump": dump}) / "dump"
        books = corpus_text.bible(path)
        self.assertEqual(list(books), ["genesis", "1_samuel"])
        self.assertEqual(books["genesis"].rstrip(), "Genesis 1\n\n1 In the beginning\n2 And\n\nGenesis 2\n\n1 Thus")

    def test_a_dump_of_another_form_is_refused(self):
        with self.assertRaisesRegex(SystemExit, "unknown line"):
            corpus_text.bible(self.put({"dump": "cannot open bible.data\n"}) / "dump")


class ManualPages(InFolder):
    PAGE = """.TH TOOL 1 "2021" "tools 1.0" "コマンド"
.SH 名前
tool \\- 道具
.SH 説明
これは
道具である。 \\fB\\-\\-long\\-option\\fR も使える。
.SH 著作権
Copyright \\(co 2021 Somebody.
.SH 関連項目
other(1)
"""

    def test_a_page_is_plain_text_without_edges_and_boilerplate(self):
        path = self.put({"man1/tool.1.gz": gzip.compress(self.PAGE.encode())}) / "man1/tool.1.gz"
        text = corpus_text.render_manual_page(path)
        self.assertEqual(
            text.strip("\n").split("\n"),
            [
                "名前",
                "       tool - 道具",
                "",
                "説明",
                "       これは道具である。 --long-option も使える。",
                "",
                "関連項目",
                "       other(1)",
            ],
        )

    def test_another_name_of_a_page_is_empty(self):
        path = self.put({"a.1.gz": gzip.compress(b".so man1/tool.1\n")}) / "a.1.gz"
        self.assertEqual(corpus_text.render_manual_page(path), "")

    def test_a_copyright_paragraph_goes_and_talk_about_copyright_stays(self):
        text = "NAME\n       x\n\n       Copyright (c) 1999 Y\n       all of it\n\n       -c  print the copyright\n"
        self.assertEqual(
            corpus_text.clean_manual_page(text), "NAME\n       x\n\n       -c  print the copyright"
        )


class Html(unittest.TestCase):
    def test_text_without_tags_navigation_and_legal_notice(self):
        page = """<html><head><title>T</title></head><body>
<div class="navheader"><table><tr><td>Next</td></tr></table></div>
<h1>Otsikko</h1><p>Yksi &amp;
 kaksi<br>kolme</p><div class="legalnotice"><p>GPL</p></div>
<pre>a  b
 c</pre><div class="navfooter"><hr>Prev</div></body></html>"""
        self.assertEqual(
            [line.strip() for line in corpus_text.html_text(page).split("\n") if line.strip()],
            ["Otsikko", "Yksi & kaksi", "kolme", "a  b", "c"],
        )


class Python(unittest.TestCase):
    def test_licence_comments_go_and_the_code_stays(self):
        code = '''#!/usr/bin/python3
# Copyright 1999 by Somebody.
# All rights reserved.

"""Does it.

Copyright (C) 2001 Somebody Else.
"""
# How it works: not at all.
x = 1  # licensed to add
__copyright__ = """
Copyright (c) 2001
Redistribution and use
"""
y = 2
'''
        self.assertEqual(
            corpus_text.strip_licence_comments(code),
            '\n"""Does it.\n\n"""\n# How it works: not at all.\nx = 1  # licensed to add\ny = 2\n',
        )


if __name__ == "__main__":
    unittest.main()
