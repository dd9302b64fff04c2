#!/usr/bin/env python3
"""Drives the chat page of `onebit serve` in headless Chromium and checks what it does.

Needs Debian's `chromium` and playwright from PyPI (no browser download):

    python3 -m venv venv && venv/bin/pip install playwright
    venv/bin/python Tests/CrossCheck/chat_page/check_chat_page.py                      # against the mock server
    venv/bin/python Tests/CrossCheck/chat_page/check_chat_page.py --url http://127.0.0.1:8080   # a real one

With --url the checks that need scripted answers are skipped. --screenshots DIRECTORY writes pictures to look at.
After every check: no request went to another address, no policy violation, no dialog, no error in the page.
"""

import argparse
import json
import pathlib
import re
import sys
import tempfile
import time
import traceback

from hostile_texts import HOSTILE, LARGE
from mock_openai_server import PAGE, MockServer
from playwright.sync_api import expect, sync_playwright

OBSERVER = """
window.violations = []; window.frames_ = {longest: 0, last: 0}; window.longTask = 0;
document.addEventListener('securitypolicyviolation', event => violations.push(event.violatedDirective + ' ' + event.blockedURI));
(function frame(now) {
  if (frames_.last) frames_.longest = Math.max(frames_.longest, now - frames_.last);
  frames_.last = now; requestAnimationFrame(frame);
})(0);
new PerformanceObserver(list => { for (const entry of list.getEntries()) longTask = Math.max(longTask, entry.duration); })
  .observe({entryTypes: ['longtask']});
"""

# A real server's answers are kept short.
SHORT_ANSWERS = """
localStorage.getItem('onebit.preferences')
  || localStorage.setItem('onebit.preferences', JSON.stringify({sampling: {max_tokens: '24', seed: '7'}}));
"""

checks = []


def check(scripted=True, **context_options):
    def register(function):
        checks.append((function, scripted, context_options))
        return function

    return register


class Session:
    """A page in a browser context of its own, and everything that it did."""

    def __init__(self, browser, url, mock, options):
        self.url, self.mock = url, mock
        self.context = browser.new_context(
            accept_downloads=True, **{"viewport": {"width": 1200, "height": 800}, **options}
        )
        self.context.add_init_script(OBSERVER)
        if not mock:
            self.context.add_init_script(SHORT_ANSWERS)
        self.context.set_default_timeout(15000)
        self.addresses, self.errors, self.dialogs = [], [], []
        self.context.on("request", lambda request: self.addresses.append(request.url))
        self.page = self.new_page()

    def new_page(self):
        page = self.context.new_page()
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))
        page.goto(self.url)
        expect(page.locator("#model")).not_to_be_empty()
        return page

    # What a user does

    def send(self, text):
        self.page.fill("#composer", text)
        self.page.press("#composer", "Enter")

    def ask(self, text, timeout=60000):
        self.send(text)
        self.wait_for_answer(timeout)

    def wait_for_answer(self, timeout=60000):
        expect(self.page.locator(".message.assistant").last).to_be_visible()
        expect(self.page.locator("#send")).to_have_attribute("aria-label", "Send", timeout=timeout)

    def answer(self):
        return self.page.locator(".message.assistant").last

    def markdown(self, text, size=7):
        """Shows a text as an answer that streams in pieces of `size` characters; its locator."""
        self.mock.texts["text"] = text
        self.ask(f"say text {size}")
        return self.answer().locator(".markdown")

    def action(self, message, name):
        message.hover()
        message.get_by_role("button", name=name, exact=True).click()

    def settings(self, **values):
        self.page.click("#open-settings")
        for name, value in values.items():
            self.page.fill(
                f"#sampling [name={name}]" if not name.startswith("_") else "#" + name[1:].replace("_", "-"), value
            )
        self.page.click("#done-settings")

    def verify(self, allowed_errors=()):
        """Nothing left this origin, nothing was refused by the policy, nothing failed."""
        origin = re.match(r"https?://[^/]+", self.url)[0]
        strangers = [
            a for a in self.addresses if not a.startswith((origin + "/", f"blob:{origin}/", "data:image/svg+xml"))
        ]
        assert not strangers, f"requests to other addresses: {strangers[:3]}"
        for page in self.context.pages:
            assert page.evaluate("violations") == [], page.evaluate("violations")
            assert page.evaluate("window.harmed === undefined"), "a script of the model ran"
        assert not self.dialogs, f"dialogs: {self.dialogs}"
        errors = [e for e in self.errors if "Failed to load resource" not in e]
        assert not errors, f"errors in the page: {errors[:3]}"


def texts(locator):
    return [text.strip() for text in locator.all_inner_texts()]


def wait_until(condition, seconds=10, what="condition"):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)


# Streaming


@check()
def streams_and_shows_figures(s):
    s.mock.texts["greeting"] = "Hello, how are you?"
    s.ask("say greeting 4 0.03")
    expect(s.answer().locator(".markdown")).to_have_text("Hello, how are you?")
    body = s.mock.requests[-1]
    assert body["stream"] is True and body["stream_options"] == {"include_usage": True} and body["model"] == "mock-1bit"
    assert body["messages"] == [{"role": "user", "content": "say greeting 4 0.03"}]
    assert not {"temperature", "top_p", "seed", "stop", "max_tokens"} & set(body), "empty settings must not be sent"
    assert re.search(
        r"^\d+\.\d tokens/s · first token after \d+\.\d\d s · 7 tokens", s.answer().locator(".stats").inner_text()
    )
    expect(s.page.locator("#gauge-text")).to_have_text("27 / 2,048")
    assert s.page.locator("#gauge").get_attribute("aria-valuenow") == "27"
    expect(s.page.locator("#announcer")).to_have_text("Hello, how are you?")


@check()
def reads_bytes_cut_anywhere(s):
    s.ask("split")
    expect(s.answer().locator(".markdown")).to_have_text("Grüße, 世界 👩‍🔬 naïve!")
    assert "123 tokens/s" in s.answer().locator(".stats").inner_text(), "the server's timings come first"


@check()
def waits_through_pings(s):
    s.send("silent")
    expect(s.answer().locator(".waiting")).to_be_visible()
    s.wait_for_answer()
    expect(s.answer().locator(".markdown")).to_have_text("After the silence.")
    expect(s.answer().locator(".waiting")).to_have_count(0)


@check()
def accepts_an_answer_that_is_not_streamed(s):
    s.ask("whole")
    expect(s.answer().locator(".markdown")).to_have_text("Not streamed.")


@check()
def shows_text_while_it_arrives_and_stops(s):
    s.send("slow")
    expect(s.answer()).to_contain_text("word5")
    expect(s.page.locator("#send")).to_have_attribute("aria-label", "Stop")
    s.page.click("#send")
    expect(s.answer().locator(".notice")).to_have_text("Stopped.")
    expect(s.answer()).to_contain_text("word5")
    wait_until(lambda: s.mock.disconnections == 1, what="the server sees the client leave")
    s.send("slow")
    expect(s.answer()).to_contain_text("word3")
    s.page.keyboard.press("Escape")
    expect(s.answer().locator(".notice")).to_have_text("Stopped.")
    s.ask("after that")
    roles = [message["role"] for message in s.mock.requests[-1]["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"], roles


@check(scripted=False)
def answers_stops_and_regenerates(s):
    s.ask("Say hello.")
    first = s.answer().locator(".markdown").inner_text()
    assert first and re.search(r"first token after .* tokens", s.answer().locator(".stats").inner_text())
    assert re.match(r"[\d,]+ (/|tokens)", s.page.locator("#gauge-text").inner_text())
    s.action(s.answer(), "Regenerate")
    s.wait_for_answer()
    assert s.answer().locator(".markdown").inner_text() == first, "the same seed gives the same text"
    s.settings(max_tokens="1000")
    s.send("slow" if s.mock else "Write a very long story.")
    expect(s.answer().locator(".markdown")).not_to_be_empty(timeout=60000)
    s.page.keyboard.press("Escape")
    expect(s.page.locator("#send")).to_have_attribute("aria-label", "Send", timeout=2000)
    s.settings(max_tokens="24")
    s.ask("Say goodbye.")
    expect(s.answer().locator(".markdown")).not_to_be_empty()


@check()
def follows_text_until_the_user_scrolls_up(s):
    s.mock.texts["text"] = "line\n\n" * 100
    s.ask("say text")
    s.send("slow")
    expect(s.answer()).to_contain_text("word20")
    distance = "(() => { const e = document.getElementById('scroller'); return e.scrollHeight - e.clientHeight - e.scrollTop })()"
    assert s.page.evaluate(distance) < 60
    s.page.mouse.move(600, 400)
    s.page.mouse.wheel(0, -600)
    wait_until(lambda: s.page.evaluate(distance) > 300, what="scrolled up")
    top = s.page.evaluate("document.getElementById('scroller').scrollTop")
    expect(s.answer()).to_contain_text("word90")
    assert abs(s.page.evaluate("document.getElementById('scroller').scrollTop") - top) < 5
    s.page.click("#to-latest")
    expect(s.answer()).to_contain_text("word140")
    assert s.page.evaluate(distance) < 60


# Failures


@check()
def shows_errors_as_text(s):
    s.ask("refuse")
    expect(s.answer().locator(".notice")).to_have_text(
        "max_tokens: 5000 is more than the <b>2048</b> tokens of the context."
    )
    s.ask("busy")
    expect(s.answer().locator(".notice")).to_contain_text("<html>busy</html>")
    s.ask("error")
    expect(s.answer().locator(".markdown")).to_have_text("Half an answer")
    expect(s.answer().locator(".notice")).to_have_text("The engine <i>failed</i>.")
    s.mock.texts["nothing"] = ""
    s.ask("say nothing")
    expect(s.answer().locator(".notice")).to_have_text("The answer is empty.")
    s.ask("length")
    expect(s.answer().locator(".notice")).to_contain_text("limit on tokens")
    roles = [message["role"] for message in s.mock.requests[-1]["messages"]]
    assert roles == ["user", "assistant", "user"], f"failed answers are left out and roles alternate: {roles}"


@check()
def says_that_the_server_does_not_answer(s):
    s.context.set_offline(True)
    s.ask("hello")
    expect(s.answer().locator(".notice")).to_contain_text("The server does not answer")
    s.context.set_offline(False)
    s.action(s.answer(), "Regenerate")
    expect(s.answer().locator(".markdown")).to_have_text("You said: hello")


@check()
def keeps_what_came_before_the_connection_broke(s):
    for name, text in (("broken", "This much had come, and then"), ("cut", "No end in sight")):
        s.ask(name)
        expect(s.answer().locator(".markdown")).to_have_text(text)
        expect(s.answer().locator(".notice")).to_contain_text("The connection broke")
    s.page.reload()
    expect(s.page.locator(".message.assistant").first).to_contain_text("This much had come")
    expect(s.page.locator(".message.assistant .notice").first).to_contain_text("The connection broke")


@check()
def marks_an_answer_that_a_reload_ended(s):
    s.send("slow")
    expect(s.answer()).to_contain_text("word90")
    s.page.reload()
    expect(s.answer()).to_contain_text("word30")
    expect(s.answer().locator(".notice")).to_contain_text("The connection broke")


@check()
def asks_for_a_key(s):
    s.mock.key = "sesame"
    s.page.reload()
    expect(s.page.locator("#key-dialog")).to_be_visible()
    s.page.click("#cancel-key")
    s.send("before the key")
    expect(s.page.locator("#key-dialog")).to_be_visible()
    s.page.fill("#key", "wrong")
    s.page.click("#use-key")
    expect(s.page.locator("#key-dialog")).to_be_visible()
    s.page.fill("#key", "sesame")
    s.page.press("#key", "Enter")
    expect(s.page.locator("#model")).to_have_text("mock-1bit")
    expect(s.answer().locator(".markdown")).to_have_text("You said: before the key")
    assert s.mock.requests[-1]["model"] == "mock-1bit"
    s.ask("open up")
    expect(s.answer().locator(".markdown")).to_have_text("You said: open up")
    s.page.reload()
    s.ask("still open")
    assert s.page.evaluate("JSON.stringify(localStorage)").find("sesame") < 0
    assert not any("sesame" in address for address in s.addresses) and not any(
        "sesame" in path for path in s.mock.paths
    )
    s.mock.key = "changed"
    s.send("closed again")
    expect(s.page.locator("#key-dialog")).to_be_visible()
    s.page.fill("#key", "changed")
    s.page.click("#use-key")
    expect(s.answer().locator(".markdown")).to_have_text("You said: closed again")
    assert s.page.locator(".message.assistant").count() == 4
    s.mock.key = "other"
    s.send("no more")
    s.page.click("#cancel-key")
    expect(s.answer().locator(".notice")).to_have_text("Incorrect API key provided.")


# Conversations


@check()
def regenerates_edits_and_deletes_with_undo(s):
    s.ask("first")
    s.ask("second")
    s.action(s.page.locator(".message.assistant").first, "Regenerate")
    s.wait_for_answer()
    assert s.page.locator(".message").count() == 2
    s.page.get_by_role("button", name="Undo").last.click()
    assert texts(s.page.locator(".message .body")) == ["first", "You said: first", "second", "You said: second"]
    s.action(s.page.locator(".message.user").first, "Edit")
    s.page.fill(".editor textarea", "changed")
    s.page.press(".editor textarea", "Enter")
    s.wait_for_answer()
    assert texts(s.page.locator(".message .body")) == ["changed", "You said: changed"]
    assert s.mock.requests[-1]["messages"] == [{"role": "user", "content": "changed"}]
    s.page.get_by_role("button", name="Undo").last.click()
    assert s.page.locator(".message").count() == 4
    s.action(s.page.locator(".message.user").last, "Delete")
    assert s.page.locator(".message").count() == 3
    s.page.get_by_role("button", name="Undo").last.click()
    assert s.page.locator(".message").count() == 4
    s.page.wait_for_timeout(200)
    s.page.reload()
    expect(s.page.locator(".message")).to_have_count(4)


@check()
def regenerating_a_running_answer_ends_the_first(s):
    s.send("slow")
    expect(s.answer()).to_contain_text("word5")
    s.page.click("#send")
    s.action(s.answer(), "Regenerate")
    expect(s.answer()).to_contain_text("word10")
    expect(s.page.locator("#send")).to_have_attribute("aria-label", "Stop")
    assert s.page.locator(".message").count() == 2
    s.page.keyboard.press("Escape")
    expect(s.page.locator("#send")).to_have_attribute("aria-label", "Send")


@check(scripted=False)
def keeps_conversations_drafts_and_settings(s):
    s.settings(temperature="0", max_tokens="12", seed="7", _system_prompt="Be brief.")
    s.ask("The first conversation")
    first = s.answer().locator(".markdown").inner_text()
    s.page.fill("#composer", "a draft")
    s.page.keyboard.press("Control+Shift+O")
    expect(s.page.locator(".message")).to_have_count(0)
    expect(s.page.locator("#composer")).to_have_value("")
    s.ask("The second one")
    s.page.fill("#composer", "another draft")
    s.page.wait_for_timeout(600)
    s.page.reload()
    expect(s.page.locator("#composer")).to_have_value("another draft")
    expect(s.page.locator("#title")).to_have_text("The second one")
    s.page.get_by_role("button", name="The first conversation").click()
    expect(s.page.locator("#composer")).to_have_value("a draft")
    expect(s.page.locator("#system-note")).to_have_text("System prompt: Be brief.")
    assert s.answer().locator(".markdown").inner_text() == first
    s.page.click("#open-settings")
    assert s.page.input_value("#sampling [name=max_tokens]") == "12"
    if s.mock:
        body = s.mock.requests[0]
        assert body["messages"][0] == {"role": "system", "content": "Be brief."}
        assert (body["temperature"], body["max_tokens"], body["seed"]) == (0, 12, 7) and "top_p" not in body


@check()
def runs_two_conversations_at_once(s):
    s.send("slow")
    expect(s.answer()).to_contain_text("word3")
    s.page.click("#new-conversation")
    s.ask("meanwhile")
    assert texts(s.page.locator(".message .body")) == ["meanwhile", "You said: meanwhile"]
    expect(s.page.locator("#conversations li.running")).to_have_count(1)
    s.page.locator("#conversations .open", has_text="slow").click()
    expect(s.answer()).to_contain_text("word60")
    s.page.keyboard.press("Escape")
    expect(s.page.locator("#conversations li.running")).to_have_count(0)


@check()
def lists_searches_renames_and_deletes(s):
    for name in ("apples and pears", "bread", "cheese"):
        s.ask(name)
        s.page.click("#new-conversation")
    assert texts(s.page.locator("#conversations .open")) == ["cheese", "bread", "apples and pears"]
    s.page.keyboard.press("Control+k")
    s.page.keyboard.type("PEARS")
    assert texts(s.page.locator("#conversations .open")) == ["apples and pears"]
    s.page.fill("#search", "nothing like this")
    expect(s.page.locator("#no-conversations")).to_have_text("Nothing found.")
    s.page.fill("#search", "")
    item = s.page.locator("#conversations li", has_text="bread")
    s.action(item, "Rename")
    s.page.keyboard.type("<b>Baking</b>")
    s.page.keyboard.press("Enter")
    expect(s.page.locator("#conversations .open").nth(1)).to_have_text("<b>Baking</b>")
    item = s.page.locator("#conversations li", has_text="cheese")
    s.action(item, "Delete")
    assert texts(s.page.locator("#conversations .open")) == ["<b>Baking</b>", "apples and pears"]
    s.page.get_by_role("button", name="Undo").click()
    expect(s.page.locator("#conversations .open")).to_have_count(3)
    expect(s.page.locator(".message.user")).to_have_text("cheese")
    s.page.reload()
    expect(s.page.locator("#conversations .open")).to_have_text(["cheese", "<b>Baking</b>", "apples and pears"])


@check()
def exports_and_imports(s):
    s.settings(_system_prompt="Be brief.")
    s.ask("to keep")
    with s.page.expect_download() as download:
        s.page.click("#export")
    content = json.loads(pathlib.Path(download.value.path()).read_text())
    assert content["format"] == "onebit-conversations" and content["version"] == 1
    assert [m["content"] for m in content["conversations"][0]["messages"]] == ["to keep", "You said: to keep"]

    folder = pathlib.Path(tempfile.mkdtemp())

    def load(value):
        (folder / "import.json").write_text(value if isinstance(value, str) else json.dumps(value))
        before = s.page.locator(".toast").count()
        s.page.set_input_files("#import-file", folder / "import.json")
        wait_until(lambda: s.page.locator(".toast").count() != before or before == 3, what="toast")
        s.page.wait_for_timeout(150)
        return s.page.locator(".toast").last.inner_text()

    assert "0 of 1" in load(content), "what is there is not doubled"
    message = {"role": "user", "content": "x"}

    def export(**conversation):
        return {"format": "onebit-conversations", "version": 1, "conversations": [{"messages": []}, conversation]}

    wrong = [
        ("{", "not JSON"),
        ("[]", "not an export"),
        ({"conversations": []}, "not an export"),
        ({**content, "version": 2}, "version is 2"),
        (export(), "conversation 2 has no list"),
        (export(messages=[{"role": "system", "content": "x"}]), "message 1"),
        (export(messages=[5]), "message 1"),
        (export(messages=[{"role": "user", "content": {"a": 1}}]), "should be text"),
        (export(messages=[message], title=5), "title"),
        (export(messages=[message], id=["x"]), "id"),
    ]
    for value, expected in wrong:
        text = load(value)
        assert "Nothing was imported" in text and expected in text, (value, text)
    expect(s.page.locator("#conversations .open")).to_have_count(1)
    changed = json.loads(json.dumps(content))
    changed["conversations"][0]["messages"][1]["content"] = "<img src=x onerror='window.harmed=1'>"
    changed["conversations"][0]["__proto__"] = {"harmed": 1}
    assert "Imported 1 of 1" in load(changed)
    expect(s.page.locator("#conversations .open")).to_have_count(2)
    s.page.wait_for_timeout(200)
    s.page.reload()
    expect(s.page.locator("#conversations .open")).to_have_count(2)
    other = Session(s.context.browser, s.url, s.mock, {})
    other.page.set_input_files("#import-file", download.value.path())
    other.page.locator("#conversations .open").click()
    expect(other.answer().locator(".markdown")).to_have_text("You said: to keep")
    expect(other.page.locator("#system-note")).to_be_visible()
    other.verify()
    other.context.close()


@check()
def shows_the_changes_of_another_tab(s):
    s.ask("in one tab")
    second = s.new_page()
    expect(second.locator(".message.user")).to_have_text("in one tab")
    s.ask("more of it")
    expect(second.locator(".message")).to_have_count(4)


@check()
def works_without_storage(s):
    s.context.add_init_script(
        "for (const name of ['indexedDB', 'localStorage', 'sessionStorage'])"
        "Object.defineProperty(window, name, { get() { throw new DOMException('refused', 'SecurityError') } })"
    )
    s.page.reload()
    expect(s.page.locator(".toast")).to_contain_text("refuses to store")
    s.ask("hello")
    s.page.click("#new-conversation")
    s.ask("again")
    s.page.locator("#conversations .open", has_text="hello").click()
    expect(s.answer().locator(".markdown")).to_have_text("You said: hello")


@check()
def sends_sampling_settings_and_resets_them(s):
    values = dict(
        temperature="0.5",
        top_p="0.9",
        top_k="40",
        min_p="0.05",
        repetition_penalty="1.1",
        frequency_penalty="-0.5",
        presence_penalty="1",
        seed="42",
        max_tokens="100",
    )
    s.page.click("#open-settings")
    assert s.page.get_attribute("#sampling [name=temperature]", "placeholder") == "0.7"
    s.page.click("#done-settings")
    s.settings(**values, _stop_strings="###\n\\n\\n")
    s.ask("hello")
    body = s.mock.requests[-1]
    assert {name: body[name] for name in values} == {name: float(value) for name, value in values.items()}
    assert body["stop"] == ["###", "\n\n"]
    s.settings(temperature="warm", top_k="1.5", seed="-1", top_p="7")
    assert s.page.get_attribute("#sampling [name=top_k]", "aria-invalid") == "true"
    s.ask("hello")
    assert not {"temperature", "top_k", "seed", "top_p"} & set(s.mock.requests[-1]), "invalid values are not sent"
    s.page.click("#open-settings")
    s.page.click("#reset-sampling")
    s.page.keyboard.press("Escape")
    s.ask("hello")
    assert not (set(values) | {"stop"}) & set(s.mock.requests[-1])


@check()
def offers_the_models_of_a_server(s):
    s.mock.models.append({"id": "other-model", "object": "model"})
    s.page.reload()
    s.page.click("#open-settings")
    s.page.select_option("#model-choice", "other-model")
    s.page.click("#done-settings")
    s.ask("hello")
    assert s.mock.requests[-1]["model"] == "other-model"
    expect(s.page.locator("#gauge-text")).to_have_text("27 tokens")


# Markdown


MARKDOWN = [
    ("paragraphs", "a *b* c\nd\n\ne", "<p>a <em>b</em> c<br>d</p><p>e</p>"),
    ("headings", "# A\n###### B ##\n#no\n\nTitle\n===\n", "<h1>A</h1><h6>B</h6><p>#no</p><h1>Title</h1>"),
    (
        "emphasis",
        "**a** __b__ ~~c~~ ***d*** *e **f** g* snake_case_name 2*3*4 **a*",
        "<p><strong>a</strong> <strong>b</strong> <del>c</del> <em><strong>d</strong></em> <em>e <strong>f</strong> g</em> "
        "snake_case_name 2<em>3</em>4 *<em>a</em></p>",
    ),
    (
        "code spans",
        "`a` ``b ` c`` ` `` ` `<b>` `open",
        "<p><code>a</code> <code>b ` c</code> <code>``</code> <code>&lt;b&gt;</code> `open</p>",
    ),
    ("escapes", "\\*a\\* \\\\ \\x &lt;b&gt; &amp;amp; &copy;", "<p>*a* \\ \\x &lt;b&gt; &amp;amp; &amp;copy;</p>"),
    (
        "lists",
        "- a\n- b\n  - c\n    1. d\n- e",
        "<ul><li><p>a</p></li><li><p>b</p><ul><li><p>c</p><ol><li><p>d</p></li></ol></li></ul></li><li><p>e</p></li></ul>",
    ),
    (
        "ordered",
        "3. a\n4. b\n\n   more\n5) c",
        "<ol start=3><li><p>a</p></li><li><p>b</p><p>more</p></li></ol><ol start=5><li><p>c</p></li></ol>",
    ),
    ("nested by two", "1. a\n  - b\n2. c", "<ol><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ol>"),
    ("tasks", "- [ ] a\n- [x] b", "<ul><li><p>☐ a</p></li><li><p>☑ b</p></li></ul>"),
    ("years", "It was in\n2024. Then", "<p>It was in<br>2024. Then</p>"),
    (
        "quotes",
        "> a\n> > b\nlazy\n\nc",
        "<blockquote><p>a</p><blockquote><p>b<br>lazy</p></blockquote></blockquote><p>c</p>",
    ),
    ("rules", "a\n\n---\n***\n- - -", "<p>a</p><hr><hr><hr>"),
    (
        "tables",
        "Text:\n| a | b | c |\n|:--|--:|:-:|\n| 1 | `x` | **y** |\n| 2 \\| 3 |\n\nend",
        "<p>Text:</p><table><thead><tr><th>a</th><th>b</th><th>c</th></tr></thead><tbody><tr><td>1</td><td><code>x</code></td>"
        "<td><strong>y</strong></td></tr><tr><td>2 | 3</td><td></td><td></td></tr></tbody></table><p>end</p>",
    ),
    ("fence", "```python\nif a < b:\n\tpass\n\n```\nafter", "<pre>python|if a < b:\n\tpass\n\n</pre><p>after</p>"),
    ("open fence", "~~~\n```\n<b>", "<pre>Text|```\n<b></pre>"),
    (
        "fence in list",
        "1. a\n   ```js\n   let x\n   ```\n2. b",
        "<ol><li><p>a</p><pre>js|let x\n</pre></li><li><p>b</p></li></ol>",
    ),
    (
        "links",
        '[a *b*](https://example.org/x "t") <https://example.org> https://example.org/y. [c](mailto:a@b.c)',
        "<p><a https://example.org/x>a <em>b</em></a> <a https://example.org/>https://example.org</a> "
        "<a https://example.org/y>https://example.org/y</a>. <a mailto:a@b.c>c</a></p>",
    ),
    ("images", "![alt](https://example.org/x.png)", "<p><span>Image: alt, https://example.org/x.png</span></p>"),
    (
        "html",
        "<b>bold</b> <script>x</script>\n\n<div>\n",
        "<p>&lt;b&gt;bold&lt;/b&gt; &lt;script&gt;x&lt;/script&gt;</p><p>&lt;div&gt;</p>",
    ),
]

# The answer's elements as text without classes; a code block is its language and its code.
SERIALIZE = """root => {
  const escape = text => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
  const show = node => {
    if (node.nodeType === 3) return escape(node.data);
    const tag = node.localName, inner = Array.from(node.childNodes, show).join('');
    if (tag === 'figure') return `<pre>${node.querySelector('figcaption span').textContent}|${node.querySelector('code').textContent}</pre>`;
    if (node.className === 'table') return inner;
    if (tag === 'br' || tag === 'hr') return `<${tag}>`;
    const extra = tag === 'a' ? ' ' + node.href : node.hasAttribute('start') ? ' start=' + node.getAttribute('start') : '';
    return `<${tag}${extra}>${inner}</${tag}>`;
  };
  return Array.from(root.childNodes, show).join('');
}"""


@check()
def renders_markdown(s):
    for name, source, expected in MARKDOWN:
        for size in (1, len(source)):
            shown = s.markdown(source, size).evaluate(SERIALIZE)
            assert shown == expected, f"{name}, in pieces of {size}:\n{shown}\n{expected}"
    link = s.markdown("[a](https://example.org)").locator("a")
    assert link.get_attribute("rel") == "noopener noreferrer nofollow" and link.get_attribute("target") == "_blank"


@check()
def pieces_of_any_size_give_the_same_document(s):
    whole = "\n\n".join(source for _, source, _ in MARKDOWN)
    shown = {size: s.markdown(whole, size).evaluate(SERIALIZE) for size in (1, 3, 17, 100, len(whole))}
    assert len(set(shown.values())) == 1, "the document depends on where the text was cut"
    s.page.reload()
    assert s.answer().locator(".markdown").evaluate(SERIALIZE) == shown[1], "a stored answer is shown as a streamed one"


# Builds documents of random pieces of Markdown and shows each at once and in random parts, with and without time enough.
FUZZ = """seed => {
  const random = limit => { seed = (seed * 1103515245 + 12345) % 2147483648; return Math.floor(seed / 2147483648 * limit); };
  const pieces = ['- ', '* ', '1. ', '2) ', '> ', '# ', '```', '~~~', '```js', '\\n', '\\n', '\\n\\n', '  ', '    ', '\\t', '| a | b |', '|---|:-:|',
    '---', '===', '***', '**', '*', '_', '~~', '`', '``', '[', '](', ')', '![', '](https://example.org)', '<b>', '&lt;', '\\\\', 'word', ' ', 'a b',
    'https://example.org', '<https://e.org>', '[x] ', '- [ ] ', '\\r\\n', '👩‍🔬', '1', '.', '|', ':'];
  for (let round = 0; round < 1500; round++) {
    let source = '';
    for (let count = 1 + random(40); count > 0; count--) source += pieces[random(pieces.length)];
    const whole = document.createElement('div'), parts = document.createElement('div');
    new MarkdownView(whole).update(source, Infinity);
    const view = new MarkdownView(parts);
    for (let end = 0; end < source.length;) {
      end = Math.min(source.length, end + 1 + random(6));
      view.update(source.slice(0, end), round % 2 ? Infinity : 0);
    }
    while (!view.update(source, 0));
    if (whole.innerHTML !== parts.innerHTML) return JSON.stringify([source, whole.innerHTML, parts.innerHTML]);
  }
  return '';
}"""


@check()
def random_documents_do_not_depend_on_their_pieces(s):
    for seed in range(4):
        difference = s.page.evaluate(FUZZ, seed + 1)
        assert not difference, difference


@check(permissions=["clipboard-read", "clipboard-write"])
def copies_code_and_messages(s):
    body = s.markdown("Text\n\n```js\nlet a = '<b>'\n\tb()\n```\n")
    body.get_by_role("button", name="Copy").click()
    assert s.page.evaluate("navigator.clipboard.readText()") == "let a = '<b>'\n\tb()\n"
    s.action(s.answer().locator("footer"), "Copy")
    wait_until(
        lambda: s.page.evaluate("navigator.clipboard.readText()").startswith("Text\n\n```js"), what="message copied"
    )


@check()
def folds_reasoning(s):
    s.ask("reasoning")
    details = s.answer().locator("details")
    expect(details.locator("summary")).to_have_text("Reasoning")
    assert details.get_attribute("open") is None
    details.locator("summary").click()
    expect(details.locator(".text")).to_have_text("First I think **hard**.")
    expect(s.answer().locator(".markdown")).to_have_text("The answer is 42.")
    for size in (1, 5, 100):
        body = s.markdown("<think>\nHmm <b>a</b>\n</think>\n\n**Yes**", size)
        expect(body).to_have_text("Yes")
        expect(s.answer().locator("details .text")).to_have_text("Hmm <b>a</b>")
        assert s.mock.requests[-1]["messages"][1]["content"] == "The answer is *42*.", "reasoning is not sent back"
        expect(s.markdown("opened by the template</think>Yes", size)).to_have_text("Yes")
    s.ask("again")
    assert "Hmm" not in json.dumps(s.mock.requests[-1])


# Hostile and large answers


@check()
def hostile_answers_do_nothing(s):
    for name, text in HOSTILE.items():
        for size in (1, 1000):
            body = s.markdown(text, size)
            forbidden = body.locator(
                "script, img, svg:not(figcaption svg), iframe, style, base, meta, object, embed, form, input, [style]"
            )
            assert forbidden.count() == 0, f"{name}: {forbidden.first.evaluate('node => node.outerHTML')}"
            attributes = body.evaluate(
                "root => Array.from(root.querySelectorAll('*'), n => n.getAttributeNames()).flat()"
            )
            assert not [a for a in attributes if a.startswith("on")], name
            for href in body.evaluate("root => Array.from(root.querySelectorAll('a'), node => node.href)"):
                assert re.match(r"(https?|mailto):", href), f"{name}: link to {href}"
    hrefs = s.markdown(HOSTILE["links"]).evaluate("root => Array.from(root.querySelectorAll('a'), node => node.href)")
    assert hrefs == ["https://example.org/a_(b)", "mailto:a@example.org"], hrefs
    s.page.reload()
    s.page.wait_for_timeout(300)


@check()
def large_answers_do_not_freeze_the_page(s):
    report = []
    for name, text in LARGE.items():
        s.page.click("#new-conversation")
        s.mock.texts["large"] = text
        s.page.evaluate("frames_.longest = 0, longTask = 0")
        start = time.monotonic()
        s.ask("burst large", timeout=30000)
        count = s.page.evaluate("document.querySelector('.message.assistant .markdown').textContent.length")
        wait = time.monotonic()
        while time.monotonic() - wait < 20:  # the page may show the rest in the frames after the last event
            s.page.wait_for_timeout(100)
            now = s.page.evaluate("document.querySelector('.message.assistant .markdown').textContent.length")
            if now == count:
                break
            count = now
        depth = s.page.evaluate(
            "(() => { let deepest = 0; for (const node of document.querySelectorAll('.markdown *')) {"
            "if (node.firstElementChild) continue; let depth = 0; for (let n = node; n; n = n.parentElement) depth++;"
            "deepest = Math.max(deepest, depth) } return deepest })()"
        )
        longest, task = s.page.evaluate("[frames_.longest, longTask]")
        report.append((longest, name, len(text), time.monotonic() - start, task))
        assert depth < 60, f"{name}: {depth} elements deep"
    for longest, name, size, seconds, task in sorted(report, reverse=True)[:8]:
        print(f"    {name}: {size:,} characters in {seconds:.1f} s, longest frame {longest:.0f} ms, task {task:.0f} ms")
    worst = max(report)
    assert worst[0] < s.frame_limit * 1.25, f"{worst[1]}: a frame took {worst[0]:.0f} ms"


@check()
def a_long_answer_streams_smoothly(s):
    unit = (
        "## Section\n\nSome *text* with `code`, **weight** and [a link](https://example.org) that goes on for a while, and then on.\n\n"
        "- one\n- two\n  - three\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```swift\nlet x = [1, 2, 3].map { $0 + 1 }\n```\n\n"
    )
    cases = {
        "mixed": unit * (100_000 // len(unit)),
        "one code block": "```\n" + "    let value = compute(first, second)\n" * 2600,
        "one list": "- an item with *some* text in it, `code` too\n" * 2200,
        "one table": "| a | b | c |\n|---|---|---|\n" + "| 1 | some text in a cell | `code` |\n" * 2900,
        "one paragraph": "words that never end and " * 4000,
    }
    for name, text in cases.items():
        s.page.click("#new-conversation")
        s.mock.texts["long"] = text
        s.page.evaluate("frames_.longest = 0, longTask = 0")
        start = time.monotonic()
        s.ask("say long 100 0.003", timeout=120000)
        longest, task = s.page.evaluate("[frames_.longest, longTask]")
        print(
            f"    {name}: {len(text):,} characters in {time.monotonic() - start:.1f} s, longest frame {longest:.0f} ms, task {task:.0f} ms"
        )
        assert longest < s.frame_limit, f"{name}: a frame took {longest:.0f} ms"


# Keyboard, small screens, colors


@check(scripted=False)
def keyboard(s):
    page = s.page
    expect(page.locator("#composer")).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    assert page.input_value("#composer") == "one\ntwo"
    page.keyboard.press("Enter")
    s.wait_for_answer()
    expect(page.locator(".message.user .body")).to_have_text("one\ntwo")
    page.focus("#composer")
    page.keyboard.press("ArrowUp")
    expect(page.locator(".editor textarea")).to_be_focused()
    assert page.input_value(".editor textarea") == "one\ntwo"
    page.keyboard.press("Escape")
    expect(page.locator(".editor")).to_have_count(0)
    expect(page.locator("#composer")).to_be_focused()
    page.keyboard.press("Control+k")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.press("Control+b")
    expect(page.locator("#sidebar")).to_be_hidden()
    page.keyboard.press("Control+k")
    expect(page.locator("#sidebar")).to_be_visible()
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.press("Control+Shift+O")
    expect(page.locator(".message")).to_have_count(0)
    expect(page.locator("#composer")).to_be_focused()
    names = page.evaluate(
        "Array.from(document.querySelectorAll('button, input:not([hidden]), textarea, select'), node =>"
        "(node.getAttribute('aria-label') || node.closest('label')?.textContent || node.textContent).trim() || node.outerHTML)"
    )
    assert not [name for name in names if name.startswith("<")], names
    page.keyboard.press("Shift+Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "focus is visible"


@check(scripted=False, viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
def phone_width(s):
    page = s.page
    expect(page.locator("#sidebar")).to_be_hidden()
    fits = "document.documentElement.scrollWidth <= innerWidth && document.getElementById('scroller').scrollWidth <= innerWidth"
    if s.mock:
        s.markdown(
            "word " * 50
            + "\n\n```\n"
            + "x" * 300
            + "\n```\n\n| a | b |\n|---|---|\n| "
            + "y" * 200
            + " | c d e |\n\n"
            + "z" * 300
        )
    else:
        s.ask("hello")
    assert page.evaluate(fits), "the page is wider than the screen"
    page.click("#toggle-sidebar")
    expect(page.locator("#sidebar")).to_be_visible()
    page.wait_for_timeout(300)
    assert page.evaluate(fits)
    page.locator("#scrim").click(position={"x": 340, "y": 300})
    expect(page.locator("#sidebar")).to_be_hidden()
    page.click("#open-settings")
    assert page.evaluate(fits) and page.locator("#settings").bounding_box()["width"] <= 360
    page.click("#done-settings")
    assert page.evaluate("document.getElementById('send').getBoundingClientRect().right <= 360")


@check(scripted=False, color_scheme="dark")
def dark_and_light(s):
    def brightness():
        rgb = s.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in re.findall(r"\d+", rgb)[:3]) / 3

    assert brightness() < 60, "the system's colors"
    s.page.click("#theme")
    assert brightness() > 200
    s.page.reload()
    assert brightness() > 200, "the choice is kept"
    s.page.click("#theme")
    assert brightness() < 60
    s.page.click("#theme")
    s.page.emulate_media(color_scheme="light")
    assert brightness() > 200


@check(scripted=False, reduced_motion="reduce")
def reduced_motion(s):
    assert s.page.evaluate("getComputedStyle(document.getElementById('sidebar')).transitionDuration") in (
        "0s",
        "1e-05s",
    )


@check(scripted=False)
def one_file_without_addresses(s):
    html = PAGE.read_text()
    assert html.count("<script") == 1 and html.count("<style") == 1
    assert not re.search(r"<[a-z][^>]*\s(on\w+|style)=", html), "handlers or styles in the markup"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", html)
    addresses = {a for a in re.findall(r"https?://[\w.]+", html)}
    assert addresses <= {"http://www.w3.org"}, addresses


# Pictures


SHOWCASE = """A **one-bit model** keeps each weight as a sign, and two vectors of values:

1. The sign matrix, one bit per weight
2. An input vector `g` and an output vector `h`
   - both in half precision
   - learned by distillation

> In short: *y = ((x ⊙ g) · W±1ᵀ) ⊙ h*

| Layer | Shape | Bits per weight |
|:------|------:|:---------------:|
| `q_proj` | 4096 × 4096 | 1.008 |
| `gate_proj` | 11008 × 4096 | 1.005 |
| `lm_head` | 32000 × 4096 | 16 |

```swift
let layer = OneBitLinear(signs: signs, inputScale: g, outputScale: h)
let output = layer(input) // (batch, 4096)
```

See [the paper](https://arxiv.org/abs/2402.11295)."""


def take_screenshots(browser, url, mock, folder):
    folder.mkdir(parents=True, exist_ok=True)
    cases = [
        ("desktop-light", {}, None),
        ("desktop-dark", {"color_scheme": "dark"}, None),
        (
            "phone",
            {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2},
            None,
        ),
        (
            "phone-drawer",
            {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True},
            "#toggle-sidebar",
        ),
        ("settings", {}, "#open-settings"),
        ("settings-phone", {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}, "#open-settings"),
    ]
    for name, options, click in cases:
        s = Session(browser, url, mock, options)
        s.page.wait_for_timeout(300)
        s.page.screenshot(path=folder / f"{name}-empty.png")
        mock.texts.update(text=SHOWCASE, other="Gladly.")
        for question in ("say other Tell me a story about a lighthouse", "say other Plan a week of dinners"):
            s.send(question)
            s.wait_for_answer()
            s.page.evaluate("document.getElementById('new-conversation').click()")
        s.settings(_system_prompt="You explain things to engineers, briefly.")
        s.ask("say text 9")
        if click:
            s.page.click(click)
            s.page.wait_for_timeout(400)
        s.page.screenshot(path=folder / f"{name}.png")
        if name.startswith("desktop"):
            s.ask("refuse")
            s.send("slow")
            expect(s.answer()).to_contain_text("word20")
            s.page.screenshot(path=folder / f"{name}-streaming.png")
        s.context.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", help="a running server instead of the mock")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--only", help="run the checks whose names contain this")
    parser.add_argument(
        "--frame-limit", type=float, default=200, help="longest frame while streaming, in ms (default: 200)"
    )
    parser.add_argument("--screenshots", type=pathlib.Path, metavar="DIRECTORY")
    options = parser.parse_args()

    mock = None if options.url else MockServer()
    url = (options.url or mock.url).rstrip("/") + "/"
    failed = passed = skipped = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        for function, scripted, context_options in checks:
            if options.only and options.only not in function.__name__:
                continue
            if scripted and not mock:
                print(f"skipped {function.__name__}: needs scripted answers")
                skipped += 1
                continue
            if mock:
                mock.reset()
            start = time.monotonic()
            session = Session(browser, url, mock, context_options)
            session.frame_limit = options.frame_limit
            try:
                function(session)
                session.verify()
                passed += 1
                print(f"passed  {function.__name__} ({time.monotonic() - start:.1f} s)", flush=True)
            except Exception as error:
                failed += 1
                line = traceback.extract_tb(error.__traceback__)[1].lineno
                print(f"FAILED  {function.__name__} (line {line}): {str(error)[:1500] or 'assertion'}", flush=True)
            session.context.close()
        if options.screenshots and mock:
            take_screenshots(browser, url, mock, options.screenshots)
        browser.close()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
