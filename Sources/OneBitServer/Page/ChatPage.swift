// swift-format-ignore-file
// Made from index.html by scripts/embed-chat-page.py; change that file and run the script.

/// The chat page that the server sends at `/`.
enum ChatPage {
    /// The value of the page's `Content-Security-Policy` header. It names the page's script and style by their hashes.
    static let contentSecurityPolicy = "default-src 'none'; script-src 'sha256-3WJlYoSmMldwAT70EaLFL09Y3AjjcxYFaWkumHKZ4PQ='; style-src 'sha256-BspHfggIUWnEVzl9g2OZIYrCUddA/iQQmycg6LdMhnQ='; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

    /// The value of the page's `ETag` header.
    static let entityTag = "\"99274ea726b4a13d8a6f9544212e074b\""

    static let html = ##"""
<!DOCTYPE html>
<!--
  The chat page of `onebit serve`: one file, no address but its own server's.

  It runs under a Content-Security-Policy that allows this one style and this one script by their hashes, so there are
  no event handlers or style attributes in the markup. What a model writes reaches the document only through
  createElement and text nodes; no string is ever parsed as HTML.
-->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1, interactive-widget=resizes-content">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>OneBit</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32' rx='8' fill='%231f6fb4'/%3E%3Cpath d='M10 16h12M22 9v14' stroke='white' stroke-width='3' stroke-linecap='round'/%3E%3C/svg%3E">
<style>
/* Colors and basics */
:root {
  color-scheme: light dark;
  --text: light-dark(#1d1f23, #e6e8eb);
  --soft: light-dark(#5c636e, #9aa3af);
  --line: light-dark(#e2e5e9, #30353d);
  --page: light-dark(#ffffff, #16181c);
  --shade: light-dark(#f5f6f8, #1d2025);
  --hover: light-dark(#e9ecf0, #2a2e35);
  --accent: light-dark(#1f6fb4, #6cb6ff);
  --on-accent: light-dark(#ffffff, #10151b);
  --bubble: light-dark(#eaf2fa, #22303f);
  --warning: light-dark(#9a4a12, #ffb27d);
  --shadow: 0 6px 24px light-dark(rgb(20 30 50 / .14), rgb(0 0 0 / .5));
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
:root[data-theme=light] { color-scheme: light; }
:root[data-theme=dark] { color-scheme: dark; }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
html, body { height: 100%; margin: 0; }
body {
  display: flex; overflow: hidden; font: 16px/1.6 system-ui, sans-serif; color: var(--text); background: var(--page);
}
button, input, textarea, select { font: inherit; color: inherit; }
textarea, input, select {
  background: var(--page); border: 1px solid var(--line); border-radius: 8px; padding: 7px 10px; width: 100%;
}
textarea { resize: vertical; }
::placeholder { color: var(--soft); opacity: 1; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
button {
  border: 0; border-radius: 8px; background: none; padding: 7px 12px; cursor: pointer; display: inline-flex;
  align-items: center; justify-content: center; gap: 8px;
}
button:hover { background: var(--hover); }
button:disabled { opacity: .4; cursor: default; }
button.primary { background: var(--accent); color: var(--on-accent); font-weight: 600; }
button.primary:hover:not(:disabled) { filter: brightness(1.08); }
button.icon { padding: 8px; color: var(--soft); flex: none; }
button.icon:hover { color: var(--text); }
svg {
  width: 18px; height: 18px; flex: none; fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linecap: round;
  stroke-linejoin: round;
}
.visually-hidden {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap;
}

/* Sidebar */
#sidebar {
  width: 280px; flex: none; display: flex; flex-direction: column; gap: 10px; padding: 12px; background: var(--shade);
  border-right: 1px solid var(--line); transition: margin .2s, translate .2s;
}
body[data-sidebar=closed] #sidebar {
  margin-left: -280px; visibility: hidden; transition: margin .2s, translate .2s, visibility 0s .2s;
}
#new-conversation { justify-content: flex-start; background: var(--page); border: 1px solid var(--line); }
#new-conversation:hover { background: var(--hover); }
#conversations { flex: 1; overflow-y: auto; list-style: none; margin: 0 -6px; padding: 0 6px; }
#conversations li { position: relative; display: flex; align-items: center; border-radius: 8px; margin-bottom: 2px; }
#conversations li:hover, #conversations li:focus-within { background: var(--hover); }
#conversations li.current { background: var(--hover); font-weight: 600; }
#conversations .open {
  flex: 1; min-width: 0; justify-content: flex-start; background: none; font-weight: inherit; padding-right: 4px;
}
#conversations .open span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
#conversations .icon { display: none; padding: 6px; }
#conversations li:hover .icon, #conversations li:focus-within .icon { display: inline-flex; }
#conversations li.running .open::after {
  content: ""; width: 7px; height: 7px; flex: none; border-radius: 50%; background: var(--accent);
  animation: pulse 1.2s infinite;
}
#no-conversations { color: var(--soft); font-size: 14px; padding: 4px 12px; }
.sidebar-foot {
  display: flex; gap: 4px; font-size: 14px; color: var(--soft); border-top: 1px solid var(--line); padding-top: 8px;
}
.sidebar-foot button { flex: 1; }
#scrim { position: fixed; inset: 0; background: rgb(0 0 0 / .4); z-index: 9; }

/* Header and context gauge */
main { flex: 1; min-width: 0; display: flex; flex-direction: column; position: relative; }
header { display: flex; align-items: center; gap: 6px; padding: 8px 12px; border-bottom: 1px solid var(--line); }
header .titles { flex: 1; min-width: 0; line-height: 1.3; padding: 0 6px; }
header h1, #model { font-size: 15px; margin: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
#model { font-size: 13px; color: var(--soft); }
#gauge {
  font-size: 13px; color: var(--soft); padding: 0 8px; text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; line-height: 1.4;
}
#gauge-track {
  height: 4px; min-width: 90px; border-radius: 2px; margin-top: 3px; background: var(--line); overflow: hidden;
}
#gauge-fill { height: 100%; width: 0; background: var(--accent); transition: width .3s; }
#gauge.full #gauge-fill { background: var(--warning); }

/* Messages */
#scroller { flex: 1; overflow-y: auto; overflow-x: hidden; }
#messages { max-width: 780px; margin: 0 auto; padding: 24px 20px 32px; }
#welcome { text-align: center; padding: 18vh 20px 0; color: var(--soft); }
#welcome h2 { color: var(--text); font-size: 26px; line-height: 1.3; margin: 0 0 6px; text-wrap: balance; }
#system-note {
  display: block; width: 100%; text-align: left; margin-bottom: 20px; color: var(--soft); font-size: 14px;
  border: 1px dashed var(--line); overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.message { margin-bottom: 22px; }
.message.user { margin-bottom: 6px; display: flex; flex-direction: column; align-items: flex-end; }
.message.user .body {
  max-width: 85%; background: var(--bubble); padding: 9px 15px; border-radius: 16px 16px 4px 16px;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
.message.user.editing, .message.user.editing .editor { width: 100%; }
.message footer {
  display: flex; flex-wrap: wrap; align-items: center; gap: 0 2px; min-height: 34px; margin-top: 2px; font-size: 13px;
  color: var(--soft);
}
.message footer button { opacity: 0; transition: opacity .15s; }
.message:hover footer button, .message:focus-within footer button, .message:last-child footer button { opacity: 1; }
.message.streaming footer button { display: none; }
.message .stats:not(:empty) { margin-right: 10px; font-variant-numeric: tabular-nums; }
.message .notice {
  color: var(--warning); font-size: 14px; margin: 8px 0 0; overflow-wrap: anywhere; white-space: pre-wrap;
}
.message .body:empty + .notice { margin-top: 0; }
.message .waiting { color: var(--soft); display: flex; align-items: center; gap: 10px; }
.message .waiting::before {
  content: ""; width: 9px; height: 9px; border-radius: 50%; background: var(--accent); animation: pulse 1.2s infinite;
}
.editor { display: flex; flex-direction: column; gap: 8px; }
.editor .buttons, dialog .buttons { display: flex; justify-content: flex-end; gap: 8px; }
.reasoning { margin: 0 0 12px; color: var(--soft); font-size: 15px; }
.reasoning summary { cursor: pointer; width: fit-content; border-radius: 6px; }
.reasoning .text {
  border-left: 2px solid var(--line); padding-left: 14px; margin-top: 6px; white-space: pre-wrap;
  overflow-wrap: anywhere;
}
.chunk { display: block; }

/* Markdown */
.markdown { overflow-wrap: anywhere; }
.markdown > :first-child { margin-top: 0; }
.markdown > :last-child { margin-bottom: 0; }
.markdown p, .markdown ul, .markdown ol, .markdown blockquote { margin: 0 0 12px; }
.markdown :is(h1, h2, h3, h4, h5, h6) { line-height: 1.3; margin: 24px 0 8px; font-size: 16px; }
.markdown h1 { font-size: 24px; } .markdown h2 { font-size: 20px; } .markdown h3 { font-size: 17.5px; }
.markdown :is(ul, ol) { padding-left: 26px; }
.markdown li > :is(ul, ol) { margin: 4px 0; }
.markdown li { margin: 4px 0; }
.markdown .tight > li > p { margin: 0; }
.markdown blockquote { border-left: 3px solid var(--line); padding-left: 14px; color: var(--soft); }
.markdown hr { border: 0; border-top: 1px solid var(--line); margin: 24px 0; }
.markdown a { color: var(--accent); text-underline-offset: 2px; }
.markdown code {
  font: .88em/1.5 var(--mono); background: var(--shade); border: 1px solid var(--line); border-radius: 5px;
  padding: 1px 5px;
}
.markdown .image { color: var(--soft); border: 1px dashed var(--line); border-radius: 5px; padding: 0 6px; }
.markdown .code {
  margin: 0 0 14px; border: 1px solid var(--line); border-radius: 10px; overflow: hidden; background: var(--shade);
}
.markdown .code figcaption {
  display: flex; align-items: center; justify-content: space-between; padding: 2px 4px 2px 14px; font-size: 13px;
  color: var(--soft); border-bottom: 1px solid var(--line);
}
.markdown .code figcaption button { font-size: 13px; padding: 5px 10px; }
.markdown .code pre { margin: 0; padding: 12px 14px; overflow-x: auto; font: 14px/1.55 var(--mono); tab-size: 4; }
.markdown .code code {
  font: inherit; background: none; border: 0; padding: 0; display: block; width: max-content; min-width: 100%;
  overflow-wrap: normal;
}
.markdown .table { overflow-x: auto; margin: 0 0 14px; border: 1px solid var(--line); border-radius: 10px; }
.markdown table { border-collapse: collapse; font-size: 15px; min-width: 100%; overflow-wrap: normal; }
.markdown :is(th, td) {
  padding: 7px 14px; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top;
}
.markdown tbody tr:last-child td { border-bottom: 0; }
.markdown th { background: var(--shade); }
.markdown .right { text-align: right; } .markdown .center { text-align: center; }

/* Composer */
#to-latest {
  position: absolute; left: 50%; bottom: 110px; translate: -50%; background: var(--page);
  border: 1px solid var(--line); border-radius: 50%; box-shadow: var(--shadow);
}
.composer { max-width: 780px; width: 100%; margin: 0 auto; padding: 0 20px 8px; }
.composer .box {
  display: flex; align-items: flex-end; gap: 6px; border: 1px solid var(--line); border-radius: 18px;
  background: var(--page); padding: 6px; box-shadow: 0 2px 10px light-dark(rgb(20 30 50 / .06), rgb(0 0 0 / .25));
}
.composer .box:focus-within { border-color: var(--accent); }
#composer {
  border: 0; background: none; resize: none; outline: none; max-height: 40vh; padding: 6px 10px; line-height: 1.5;
}
#send { padding: 9px; border-radius: 12px; flex: none; }
.composer .hint { text-align: center; font-size: 12px; color: var(--soft); margin: 6px 0 0; }

/* Dialogs and toasts */
dialog {
  border: 1px solid var(--line); border-radius: 16px; padding: 0; width: min(560px, calc(100vw - 24px));
  max-height: calc(100dvh - 24px); background: var(--page); color: inherit; box-shadow: var(--shadow);
}
dialog::backdrop { background: rgb(0 0 0 / .35); }
dialog .content { padding: 20px; display: flex; flex-direction: column; gap: 14px; }
dialog h2 { font-size: 18px; margin: 0; }
dialog h3 { font-size: 14px; margin: 8px 0 -6px; color: var(--soft); font-weight: 600; }
dialog p { margin: 0; color: var(--soft); font-size: 14px; }
dialog label, dialog .field { display: block; font-size: 14px; }
dialog :is(input, textarea, select) { margin-top: 4px; font-size: 15px; }
dialog [aria-invalid=true] { border-color: var(--warning); }
.dialog-head { display: flex; align-items: center; justify-content: space-between; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)); gap: 12px; }
#toasts {
  position: fixed; left: 50%; bottom: 116px; translate: -50%; z-index: 20; display: flex; flex-direction: column;
  gap: 8px; width: max-content; max-width: calc(100vw - 24px);
}
.toast {
  display: flex; align-items: center; gap: 10px; padding: 8px 8px 8px 16px; border-radius: 12px; font-size: 14px;
  background: var(--text); color: var(--page); box-shadow: var(--shadow); overflow-wrap: anywhere;
}
.toast button { color: inherit; font-weight: 600; padding: 4px 10px; }
.toast button:hover { background: none; text-decoration: underline; }

/* Phones; reduced motion */
@keyframes pulse { 50% { opacity: .25; } }
@media (max-width: 760px) {
  #sidebar { position: fixed; inset: 0 auto 0 0; z-index: 10; width: min(300px, 84vw); box-shadow: var(--shadow); }
  body[data-sidebar=closed] #sidebar { margin: 0; translate: -105%; box-shadow: none; }
  #messages { padding: 16px 14px 24px; }
  .composer { padding: 0 10px 10px; }
  .composer .hint { display: none; }
  header { padding: 6px; gap: 0; }
  #gauge { padding: 0 4px; font-size: 12px; }
  #gauge-track { min-width: 56px; }
  .message.user .body { max-width: 92%; }
  #toasts, #to-latest { bottom: 84px; }
}
@media (hover: none) {
  .message footer button { opacity: 1; }
  #conversations .icon { display: inline-flex; }
}
@media (prefers-reduced-motion: reduce) {
  * { animation: none !important; transition: none !important; scroll-behavior: auto !important;
}
</style>
</head>
<body data-sidebar="closed">

<svg hidden aria-hidden="true">
  <symbol id="icon-menu" viewBox="0 0 24 24"><path d="M4 7h16M4 12h16M4 17h10"/></symbol>
  <symbol id="icon-plus" viewBox="0 0 24 24"><path d="M12 5v14M5 12h14"/></symbol>
  <symbol id="icon-settings" viewBox="0 0 24 24"><path d="M4 8h9m6 0h1M4 16h2m6 0h8"/><circle cx="16" cy="8" r="2.5"/><circle cx="9" cy="16" r="2.5"/></symbol>
  <symbol id="icon-auto" viewBox="0 0 24 24"><circle cx="12" cy="12" r="8"/><path d="M12 4v16M12 8h5M12 12h8M12 16h5"/></symbol>
  <symbol id="icon-light" viewBox="0 0 24 24"><circle cx="12" cy="12" r="4"/><path d="M12 3v2m0 14v2M3 12h2m14 0h2M5.6 5.6 7 7m10 10 1.4 1.4M5.6 18.4 7 17M17 7l1.4-1.4"/></symbol>
  <symbol id="icon-dark" viewBox="0 0 24 24"><path d="M20 14.5A8 8 0 0 1 9.5 4 8 8 0 1 0 20 14.5z"/></symbol>
  <symbol id="icon-copy" viewBox="0 0 24 24"><rect x="9" y="9" width="11" height="11" rx="2"/><path d="M15 9V6a2 2 0 0 0-2-2H6a2 2 0 0 0-2 2v7a2 2 0 0 0 2 2h3"/></symbol>
  <symbol id="icon-check" viewBox="0 0 24 24"><path d="m5 12.5 4.5 4.5L19 7.5"/></symbol>
  <symbol id="icon-edit" viewBox="0 0 24 24"><path d="M4 20h4L19 9l-4-4L4 16zM13 7l4 4"/></symbol>
  <symbol id="icon-regenerate" viewBox="0 0 24 24"><path d="M19.5 12a7.5 7.5 0 1 1-2.2-5.300L20 9.5M20 4v5.5h-5.5"/></symbol>
  <symbol id="icon-delete" viewBox="0 0 24 24"><path d="M4 7h16M10 11v6m4-6v6M6 7l1 13h10l1-13M9 7V4h6v3"/></symbol>
  <symbol id="icon-send" viewBox="0 0 24 24"><path d="M12 19V5m-6 6 6-6 6 6"/></symbol>
  <symbol id="icon-stop" viewBox="0 0 24 24"><rect x="7" y="7" width="10" height="10" rx="1.5" fill="currentColor"/></symbol>
  <symbol id="icon-down" viewBox="0 0 24 24"><path d="M12 5v14m-6-6 6 6 6-6"/></symbol>
  <symbol id="icon-close" viewBox="0 0 24 24"><path d="m6 6 12 12M18 6 6 18"/></symbol>
</svg>

<nav id="sidebar" aria-label="Conversations">
  <button id="new-conversation" title="Ctrl+Shift+O">
    <svg aria-hidden="true"><use href="#icon-plus"/></svg>New conversation
  </button>
  <input id="search" type="search" placeholder="Search" aria-label="Search conversations" title="Ctrl+K"
    autocomplete="off">
  <div id="no-conversations" hidden>Nothing found.</div>
  <ul id="conversations"></ul>
  <div class="sidebar-foot"><button id="export">Export</button><button id="import">Import</button></div>
  <input id="import-file" type="file" accept=".json,application/json" aria-label="Conversations to import" hidden>
</nav>
<div id="scrim" hidden></div>

<main>
  <header>
    <button id="toggle-sidebar" class="icon" aria-label="Conversations" aria-controls="sidebar"
      title="Conversations (Ctrl+B)"><svg aria-hidden="true"><use href="#icon-menu"/></svg></button>
    <div class="titles"><h1 id="title">New conversation</h1><div id="model"></div></div>
    <div id="gauge" role="meter" aria-label="Context used" aria-valuemin="0" hidden>
      <div id="gauge-text"></div><div id="gauge-track"><div id="gauge-fill"></div></div>
    </div>
    <button id="open-settings" class="icon" aria-label="Settings" title="Settings">
      <svg aria-hidden="true"><use href="#icon-settings"/></svg>
    </button>
    <button id="theme" class="icon"></button>
  </header>
  <div id="scroller">
    <div id="welcome"><h2>What would you like to ask?</h2>Conversations stay in this browser.</div>
    <div id="messages" role="log" aria-live="off" aria-label="Messages"></div>
  </div>
  <button id="to-latest" class="icon" aria-label="Scroll to the latest text" hidden>
    <svg aria-hidden="true"><use href="#icon-down"/></svg>
  </button>
  <div class="composer">
    <div class="box">
      <textarea id="composer" rows="1" placeholder="Message" aria-label="Message"></textarea>
      <button id="send" class="primary" aria-label="Send"></button>
    </div>
    <p class="hint">Enter sends, Shift+Enter starts a new line. Small models make mistakes: check what matters.</p>
  </div>
</main>

<dialog id="settings" aria-labelledby="settings-title"><div class="content">
  <div class="dialog-head">
    <h2 id="settings-title">Settings</h2>
    <button id="close-settings" class="icon" aria-label="Close"><svg aria-hidden="true"><use href="#icon-close"/></svg></button>
  </div>
  <label id="model-field" hidden>Model<select id="model-choice"></select></label>
  <label>System prompt of this conversation<textarea id="system-prompt" rows="3" placeholder="None"></textarea></label>
  <h3>Sampling, in all conversations</h3>
  <p>An empty field leaves the choice to the server.</p>
  <div id="sampling" class="grid"></div>
  <label>Stop strings, one per line (\n for a line break)
    <textarea id="stop-strings" rows="2" placeholder="None"></textarea></label>
  <div class="buttons">
    <button id="forget-key">Forget the key</button>
    <button id="reset-sampling">Reset sampling</button>
    <button id="done-settings" class="primary">Done</button>
  </div>
</div></dialog>

<dialog id="key-dialog" aria-labelledby="key-title"><div class="content">
  <h2 id="key-title">This server asks for a key</h2>
  <label>Key<input id="key" type="password" autocomplete="off" spellcheck="false"></label>
  <p>It is kept until this tab is closed, and sent to this server only.</p>
  <div class="buttons">
    <button id="cancel-key">Cancel</button>
    <button id="use-key" class="primary">Use key</button>
  </div>
</div></dialog>

<div id="toasts" role="status"></div>
<div id="announcer" class="visually-hidden" aria-live="polite"></div>

<script>
'use strict';

// ---- Document helpers ----

const byId = id => document.getElementById(id);

/** A new element. Properties whose value is a function are event listeners, the others attributes. */
function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === 'function') node.addEventListener(name, value);
    else if (value !== false && value !== undefined) node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children);
  return node;
}

function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  svg.setAttribute('aria-hidden', 'true');
  use.setAttribute('href', '#icon-' + name);
  svg.append(use);
  return svg;
}

function iconButton(name, label, click) {
  return element('button', { class: 'icon', 'aria-label': label, title: label, click }, icon(name));
}

/** Copies text; `navigator.clipboard` exists only over HTTPS and on localhost. */
async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element('textarea', { class: 'visually-hidden' });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
    button.focus();
  }
  announce('Copied');
  const shown = button.querySelector('svg');
  shown.replaceWith(icon('check'));
  setTimeout(() => button.querySelector('svg').replaceWith(icon('copy')), 1500);
}

function announce(text) {
  byId('announcer').textContent = text;
}

function toast(text, actionLabel, action) {
  const node = element('div', { class: 'toast' }, element('span', {}, text));
  const remove = () => node.remove();
  if (action) node.append(element('button', { click() { remove(); action(); } }, actionLabel));
  else node.append(element('button', { 'aria-label': 'Dismiss', click: remove }, icon('close')));
  byId('toasts').append(node);
  while (byId('toasts').children.length > 3) byId('toasts').firstChild.remove();
  setTimeout(remove, 12000);
}

function newIdentifier() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), byte => byte.toString(16).padStart(2, '0')).join('');
}

const isObject = value => typeof value === 'object' && value !== null && !Array.isArray(value);

// ---- Markdown: inline ----
//
// Text comes from a model and may be hostile. Work is linear in its length and nesting is bounded: a delimiter run is
// looked for only among at most INLINE_DEPTH open frames, and what is deeper stays text.

const INLINE_DEPTH = 16;
const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', nbsp: '\u00a0', '#39': "'" };
const PLAIN = /(?:(?!https?:\/\/)[^\\`*_~[\]!<&\n])+/y;
const ENTITY = /&(amp|lt|gt|quot|nbsp|#39);/y;
const AUTOLINK = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y;
const BARE_LINK = /https?:\/\/[^\s<>"'`\]]{1,2000}/y;
// "(address "title")" after a link's text: the address in angle brackets, or with at most four pairs of parentheses.
const DESTINATION = new RegExp(
  '\\([ \\n]{0,9}(?:<([^<>\\n]{0,2000})>|([^\\s()<]{0,2000}(?:\\([^\\s()]{0,500}\\)[^\\s()]{0,500}){0,4}))'
  + '(?:[ \\n]{1,9}"[^"]{0,500}")?[ \\n]{0,9}\\)', 'y');
const PUNCTUATION = /[\p{P}\p{S}]/u;

function matchAt(pattern, source, position) {
  pattern.lastIndex = position;
  return pattern.exec(source);
}

/** The address if a link may lead there, else null: schemes that run code or read files are no links. */
function safeAddress(address) {
  try {
    const url = new URL(address);
    return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function makeLink(address, children) {
  const href = safeAddress(address);
  const node = href === null
    ? element('span')
    : element('a', { href, title: href, target: '_blank', rel: 'noopener noreferrer nofollow' });
  for (const child of children) node.append(child);
  for (const inner of node.querySelectorAll('a')) inner.replaceWith(...inner.childNodes);
  if (href === null) node.append(` (${address})`);
  return node;
}

/** An image is shown as its description and address: fetching it would tell its server what was said here. */
function makeImageText(address, children) {
  const text = children.map(child => child.textContent).join('');
  return element('span', { class: 'image' }, 'Image: ', [text, address].filter(Boolean).join(', '));
}

/** Backtick runs of a text: for each length the positions, last first. */
function findBacktickRuns(source) {
  const runs = new Map();
  for (const match of source.matchAll(/`+/g)) {
    if (!runs.has(match[0].length)) runs.set(match[0].length, []);
    runs.get(match[0].length).push(match.index);
  }
  for (const positions of runs.values()) positions.reverse();
  return runs;
}

/** CommonMark's left- and right-flanking rules for a run of `*`, `_` or `~`. */
function flanking(source, start, end) {
  const before = start === 0 ? ' ' : source[start - 1], after = end < source.length ? source[end] : ' ';
  const space = character => /\s/.test(character);
  const left = !space(after) && (!PUNCTUATION.test(after) || space(before) || PUNCTUATION.test(before));
  const right = !space(before) && (!PUNCTUATION.test(before) || space(after) || PUNCTUATION.test(after));
  if (source[start] !== '_') return { opens: left, closes: right };
  return { opens: left && (!right || PUNCTUATION.test(before)), closes: right && (!left || PUNCTUATION.test(after)) };
}

/** Appends the nodes of a paragraph's text to `parent`. */
function appendInline(parent, source) {
  const frames = [{ mark: '', count: 0, children: [] }]; // what is open; the first is the paragraph itself
  let text = '', position = 0, backtickRuns = null;

  const add = node => {
    const children = frames[frames.length - 1].children;
    if (text) children.push(document.createTextNode(text));
    text = '';
    if (node) children.push(node);
  };
  const open = (mark, count) => {
    if (frames.length > INLINE_DEPTH) {
      text += mark.repeat(count);
    } else {
      add();
      frames.push({ mark, count, children: [] });
    }
  };
  /** Frames above `depth` were never closed: their marks are text. */
  const dissolve = depth => {
    add();
    while (frames.length > depth) {
      const frame = frames.pop(), children = frames[frames.length - 1].children;
      children.push(document.createTextNode(frame.mark.repeat(frame.count)));
      for (const child of frame.children) children.push(child);
    }
  };
  const innermost = marks => {
    let depth = frames.length - 1;
    while (depth > 0 && !marks.includes(frames[depth].mark)) depth--;
    return depth;
  };
  /** Closes emphasis; returns how many characters of the run found no opener. */
  const close = (mark, count) => {
    while (count > 0) {
      const depth = innermost([mark]);
      if (depth === 0) break;
      dissolve(depth + 1);
      const frame = frames[depth], width = Math.min(2, frame.count, count);
      const node = element(mark === '~' ? 'del' : width === 2 ? 'strong' : 'em');
      for (const child of frame.children) node.append(child);
      frame.children = [node];
      frame.count -= width;
      count -= width;
      if (frame.count === 0) frames.pop(), add(node);
    }
    return count;
  };

  while (position < source.length) {
    const character = source[position];
    let match;
    if ((match = matchAt(PLAIN, source, position))) {
      text += match[0];
      position += match[0].length;
    } else if (character === '\n') {
      text = text.trimEnd();
      add(element('br'));
      position++;
    } else if (character === '\\') {
      const next = source[position + 1] || '';
      if (/[!-/:-@[-`{-~]/.test(next)) text += next, position += 2;
      else text += next === '\n' ? '' : '\\', position++;
    } else if (character === '`') {
      backtickRuns = backtickRuns || findBacktickRuns(source);
      let end = position;
      while (source[end] === '`') end++;
      const closing = backtickRuns.get(end - position) || [];
      while (closing.length && closing[closing.length - 1] < end) closing.pop();
      if (closing.length) {
        const last = closing.pop(), code = source.slice(end, last).replace(/\n/g, ' ');
        add(element('code', {}, /^ .*[^ ].* $/.test(code) ? code.slice(1, -1) : code));
        position = last + (end - position);
      } else {
        text += source.slice(position, end);
        position = end;
      }
    } else if (character === '*' || character === '_' || character === '~') {
      let end = position;
      while (source[end] === character) end++;
      const count = end - position, { opens, closes } = flanking(source, position, end);
      if (count > 3 || (character === '~' && count !== 2)) {
        text += source.slice(position, end);
      } else {
        const rest = closes ? close(character, count) : count;
        if (rest > 0 && opens) open(character, rest);
        else text += character.repeat(rest);
      }
      position = end;
    } else if (character === '[' || (character === '!' && source[position + 1] === '[')) {
      const mark = character === '[' ? '[' : '![';
      open(mark, 1);
      position += mark.length;
    } else if (character === ']') {
      const depth = innermost(['[', '![']);
      match = depth > 0 && matchAt(DESTINATION, source, position + 1);
      if (match) {
        dissolve(depth + 1);
        const { mark, children } = frames.pop(), address = match[1] || match[2] || '';
        add(mark === '[' ? makeLink(address, children) : makeImageText(address, children));
        position += 1 + match[0].length;
      } else {
        if (depth > 0) dissolve(depth);
        text += ']';
        position++;
      }
    } else if ((match = matchAt(AUTOLINK, source, position))) {
      add(makeLink(match[1], [document.createTextNode(match[1])]));
      position += match[0].length;
    } else if ((match = matchAt(ENTITY, source, position))) {
      text += ENTITIES[match[1]];
      position += match[0].length;
    } else if ((match = matchAt(BARE_LINK, source, position))) {
      let address = match[0];
      while (/[.,:;!?*_~]$/.test(address) || (address.endsWith(')') && !address.includes('('))) {
        address = address.slice(0, -1);
      }
      add(makeLink(address, [document.createTextNode(address)]));
      position += address.length;
    } else {
      text += character;
      position++;
    }
  }
  dissolve(1);
  for (const child of frames[0].children) parent.append(child);
}

// ---- Markdown: blocks ----
//
// A text is an array of lines that keep their "\n". parseBlock reads one block at a time and never looks back, so all
// but the last blocks of a growing text are final. Blocks end at BLOCK_SIZE even where Markdown would go on: that
// bounds what has to be made anew while text arrives.

const BLOCK_DEPTH = 10;
const BLOCK_SIZE = 12000;
const LINE_SIZE = 4096;
const CODE_CHUNK = 4096;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}\n?$/;
const HEADING = /^ {0,3}(#{1,6})(?=\s|$)/;
const UNDERLINE = /^ {0,3}(?:=+|-{3,})[ \t]*\n?$/;
const FENCE = /^([ \t]*)(`{3,}(?=[^`]*$)|~{3,})[ \t]*([^\n]*)/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^([ \t]*)([-*+]|\d{1,9}[.)])(?:[ \t]+|(?=\n)|$)/;

const isBlank = line => !/\S/.test(line);

/** Columns of leading white space; a tab goes to the next multiple of four. */
function indentation(line) {
  let columns = 0;
  for (let index = 0; line[index] === ' ' || line[index] === '\t'; index++) {
    columns += line[index] === ' ' ? 1 : 4 - columns % 4;
  }
  return columns;
}

function removeIndentation(line, columns) {
  let index = 0, column = 0;
  while (column < columns && (line[index] === ' ' || line[index] === '\t')) {
    column += line[index++] === ' ' ? 1 : 4 - column % 4;
  }
  return line.slice(index);
}

/** Whether a line ends the paragraph before it. A number other than 1 does not: "in\n2024. That was" is no list. */
function startsBlock(lines, index) {
  const line = lines[index], item = ITEM.exec(line);
  return HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || FENCE.test(line)
    || (item !== null && !isBlank(line.slice(item[0].length)) && (!/\d/.test(item[2]) || parseInt(item[2], 10) === 1))
    || tableAlignments(lines, index) !== null;
}

/** Text in pieces of some kilobytes, so that a browser lays out only the last one when more is appended. */
class ChunkedText {
  constructor(parent) {
    this.parent = parent;
    this.clear();
  }

  clear() {
    this.parent.replaceChildren();
    this.source = '';
    this.chunk = null;
  }

  append(text) {
    this.source += text;
    for (let start = 0; start < text.length;) {
      if (!this.chunk) {
        this.chunk = document.createTextNode('');
        this.parent.append(element('span', { class: 'chunk' }, this.chunk));
      }
      const filled = this.chunk.length;
      let end = Math.min(text.length, start + 2 * CODE_CHUNK - filled), full = end < text.length;
      const newline = text.indexOf('\n', start + Math.max(0, CODE_CHUNK - filled));
      if (newline >= 0 && newline < end) end = newline + 1, full = true;
      else if (full && /[\ud800-\udbff]/.test(text[end - 1])) end++;
      this.chunk.appendData(text.slice(start, end));
      if (full) this.chunk = null;
      start = end;
    }
  }
}

/** A fenced code block with its language and a copy button; grows while its fence is open. */
class CodeBlock {
  constructor(language) {
    const code = element('code'), text = new ChunkedText(code);
    const copy = element('button', { click: () => copyText(text.source, copy) }, icon('copy'), 'Copy');
    this.text = text;
    this.language = language;
    this.node = element('figure', { class: 'code' },
      element('figcaption', {}, element('span', {}, language || 'Text'), copy),
      element('pre', { tabindex: '0', role: 'group', 'aria-label': 'Code' }, code));
  }

  update(source) {
    if (source.length < this.text.source.length) this.text.clear(); // what looked like code was the closing fence
    this.text.append(source.slice(this.text.source.length));
  }
}

function parseFence(lines, start, growing) {
  const [, indent, fence, info] = FENCE.exec(lines[start]);
  const closing = new RegExp(`^[ \\t]*${fence[0]}{${Math.min(fence.length, 1000)},}[ \\t]*\\n?$`);
  let end = start + 1;
  while (end < lines.length && !closing.test(lines[end])) end++;
  const columns = indentation(indent);
  const body = lines.slice(start + 1, end).map(line => removeIndentation(line, columns));
  const language = info.trim().split(/[\s{]/)[0].slice(0, 40);
  const block = growing instanceof CodeBlock && growing.language === language ? growing : new CodeBlock(language);
  block.update(body.join(''));
  return { end: Math.min(end + 1, lines.length), node: block.node, growing: block };
}

function parseHeading(line) {
  const marks = HEADING.exec(line);
  const node = element('h' + marks[1].length);
  appendInline(node, line.slice(marks[0].length).trim().replace(/(?:^|[ \t])#+$/, ''));
  return node;
}

function parseQuote(lines, start, depth) {
  const inner = [];
  let index = start, size = 0;
  while (index < lines.length && size < BLOCK_SIZE) {
    const line = lines[index];
    if (!QUOTE.test(line) && (isBlank(line) || startsBlock(lines, index))) break;
    inner.push(line.replace(QUOTE, ''));
    size += line.length;
    index++;
  }
  const node = element('blockquote');
  appendBlocks(node, inner, depth + 1);
  return { end: index, node };
}

function parseList(lines, start, depth) {
  const [, firstIndent, firstMark] = ITEM.exec(lines[start]);
  const ordered = /\d/.test(firstMark), kind = firstMark[firstMark.length - 1], indent = indentation(firstIndent);
  const node = element(ordered ? 'ol' : 'ul');
  if (ordered && parseInt(firstMark, 10) !== 1) node.setAttribute('start', parseInt(firstMark, 10));
  let index = start, size = 0, loose = false, blankBefore = false;
  while (index < lines.length && size < BLOCK_SIZE) {
    const match = ITEM.exec(lines[index]);
    if (!match || !match[2].endsWith(kind) || indentation(match[1]) > indent + 1 || RULE.test(lines[index])) break;
    // Children are often indented by two columns under "1. " too, so two are enough to belong to an item.
    const padding = match[0].length - match[1].length - match[2].length;
    const content = indentation(match[1]) + match[2].length + (padding > 4 ? 1 : Math.max(padding, 1));
    const inner = [removeIndentation(lines[index].slice(match[1].length + match[2].length), padding > 4 ? 1 : padding)];
    if (blankBefore) loose = true;
    blankBefore = false;
    for (index++; index < lines.length; index++) {
      const line = lines[index];
      if (isBlank(line)) {
        blankBefore = true;
      } else {
        const belongs = indentation(line) >= indent + 2;
        if (!belongs && (blankBefore || startsBlock(lines, index) || ITEM.test(line))) break;
        if (blankBefore) inner.push('\n'), loose = true;
        blankBefore = false;
        inner.push(removeIndentation(line, content));
      }
      size += line.length;
    }
    inner[0] = inner[0].replace(/^\[( |x|X)\] /, (box, mark) => mark === ' ' ? '☐ ' : '☑ ');
    size += inner[0].length + 1;
    const item = element('li');
    appendBlocks(item, inner, depth + 1);
    node.append(item);
  }
  if (!loose) node.className = 'tight';
  return { end: index, node };
}

function splitCells(line) {
  const cells = [''];
  const text = line.trim().replace(/^\|/, '');
  for (let index = 0; index < text.length; index++) {
    if (text[index] === '\\' && text[index + 1] === '|') cells[cells.length - 1] += '|', index++;
    else if (text[index] === '|') cells.push('');
    else cells[cells.length - 1] += text[index];
  }
  if (cells.length > 1 && isBlank(cells[cells.length - 1])) cells.pop();
  return cells.map(cell => cell.trim());
}

/** The alignments of a table's columns if one starts at this line, else null. */
function tableAlignments(lines, index) {
  if (index + 1 >= lines.length || !lines[index].includes('|')) return null;
  if (!/^[ \t]*\|?[ \t]*:?-/.test(lines[index + 1])) return null;
  const marks = splitCells(lines[index + 1]);
  if (marks.length > 100 || !marks.every(mark => /^:?-+:?$/.test(mark))) return null;
  if (splitCells(lines[index]).length !== marks.length) return null;
  return marks.map(mark => mark.endsWith(':') ? (mark.startsWith(':') ? 'center' : 'right') : '');
}

/** A table; grows while rows come. */
class TableBlock {
  constructor(header, alignments) {
    this.alignments = alignments;
    this.lines = [];
    this.body = element('tbody');
    this.node = element('div', { class: 'table', tabindex: '0', role: 'region', 'aria-label': 'Table' },
      element('table', {}, element('thead', {}, this.row('th', header)), this.body));
  }

  row(tag, line) {
    const cells = splitCells(line);
    return element('tr', {}, ...this.alignments.map((alignment, column) => {
      const cell = element(tag, alignment ? { class: alignment } : {});
      appendInline(cell, cells[column] || '');
      return cell;
    }));
  }

  update(lines) {
    const kept = Math.max(0, this.lines.length - 1); // the last line may have been part of one
    if (this.lines.length) this.body.lastChild.remove();
    for (const line of lines.slice(kept)) this.body.append(this.row('td', line));
    this.lines = lines;
  }
}

function parseTable(lines, start, alignments, growing) {
  let end = start + 2;
  while (end < lines.length && !isBlank(lines[end]) && (lines[end].includes('|') || !startsBlock(lines, end))) end++;
  const same = growing instanceof TableBlock && growing.alignments.join() === alignments.join();
  const block = same ? growing : new TableBlock(lines[start], alignments);
  block.update(lines.slice(start + 2, end));
  return { end, node: block.node, growing: block };
}

function parseParagraph(lines, start) {
  let index = start + 1, size = lines[start].length, heading = '';
  while (index < lines.length && size < BLOCK_SIZE && !isBlank(lines[index])) {
    if (UNDERLINE.test(lines[index])) {
      heading = lines[index].includes('=') ? 'h1' : 'h2';
      break;
    }
    if (startsBlock(lines, index)) break;
    size += lines[index++].length;
  }
  const node = element(heading || 'p');
  appendInline(node, lines.slice(start, index).map(line => line.replace(/^[ \t]+/, '')).join('').trimEnd());
  return { end: heading ? index + 1 : index, node };
}

/** Reads the block at `start`; `growing` is the code block or table that it was when less of it had come. */
function parseBlock(lines, start, depth, growing) {
  const line = lines[start];
  if (isBlank(line)) return { end: start + 1, node: null };
  if (FENCE.test(line)) return parseFence(lines, start, growing);
  if (HEADING.test(line)) return { end: start + 1, node: parseHeading(line) };
  if (RULE.test(line)) return { end: start + 1, node: element('hr') };
  if (depth < BLOCK_DEPTH && QUOTE.test(line)) return parseQuote(lines, start, depth);
  if (depth < BLOCK_DEPTH && ITEM.test(line)) return parseList(lines, start, depth);
  const alignments = tableAlignments(lines, start);
  return alignments ? parseTable(lines, start, alignments, growing) : parseParagraph(lines, start);
}

function appendBlocks(parent, lines, depth) {
  for (let index = 0; index < lines.length;) {
    const block = parseBlock(lines, index, depth);
    if (block.node) parent.append(block.node);
    index = block.end;
  }
}

/** Markdown that grows: each update makes only the blocks anew that more text can still change. */
class MarkdownView {
  constructor(parent) {
    this.parent = parent;
    this.lines = [];
    this.length = 0; // characters of the source in `lines`
    this.stable = 0; // the line where the blocks begin that may still change
    this.tail = []; // those blocks
  }

  /** `source` begins with what was given before. Returns false when it ran out of time before the end. */
  update(source, milliseconds = 10) {
    this.appendLines(source.slice(this.length));
    this.length = source.length;
    const deadline = performance.now() + milliseconds;
    const growing = this.tail.length ? this.tail[0].growing : undefined;
    for (const { node } of this.tail) if (node && !(growing && node === growing.node)) node.remove();
    let index = this.stable;
    this.tail = [];
    while (index < this.lines.length) {
      const block = parseBlock(this.lines, index, 0, index === this.stable ? growing : undefined);
      if (index === this.stable && growing && block.growing !== growing) growing.node.remove();
      if (block.node && block.node.parentNode !== this.parent) this.parent.append(block.node);
      this.tail.push({ start: index, node: block.node, growing: block.growing });
      index = block.end;
      if (performance.now() > deadline && index < this.lines.length - 2) {
        this.stable = index;
        this.tail = [];
        return false;
      }
    }
    // Where a block ends depends on the two lines after it: once they are whole, it is final.
    while (this.tail.length > 1 && this.tail[1].start < this.lines.length - 2) this.tail.shift();
    if (this.tail.length) this.stable = this.tail[0].start;
    return true;
  }

  /** Adds text to the lines; a line beyond LINE_SIZE becomes several, the earlier ones without a "\n". */
  appendLines(text) {
    if (this.lines.length && !this.lines[this.lines.length - 1].endsWith('\n')) text = this.lines.pop() + text;
    for (let start = 0; start < text.length;) {
      const newline = text.indexOf('\n', start);
      let end = newline < 0 ? text.length : newline + 1;
      if (end - start > LINE_SIZE) {
        const space = text.lastIndexOf(' ', start + LINE_SIZE);
        end = space > start + LINE_SIZE / 2 ? space + 1 : start + LINE_SIZE;
        if (/[\ud800-\udbff]/.test(text[end - 1])) end++;
      }
      this.lines.push(text.slice(start, end));
      start = end;
    }
  }
}

// ---- Server: OpenAI's HTTP interface ----

/** What the server answered instead of a result, in its own words. */
class ServerError extends Error {
  constructor(message, status, key) {
    super(message);
    this.status = status;
    this.key = key; // that of the request
  }
}

const apiKey = {
  get: () => { try { return sessionStorage.getItem('onebit.key') || ''; } catch { return apiKey.unsaved || ''; } },
  set(value) {
    apiKey.unsaved = value;
    try { sessionStorage.setItem('onebit.key', value); } catch { /* kept in memory */ }
  },
};

const server = { models: [], model: null };

async function request(path, options = {}) {
  const headers = { ...options.headers }, key = apiKey.get();
  if (key) headers.Authorization = `Bearer ${key}`;
  const response = await fetch(path, { ...options, headers, credentials: 'omit', cache: 'no-store' });
  if (response.ok) return response;
  const body = await response.text().catch(() => '');
  const message = errorMessage(body) || `The server answered ${response.status} ${response.statusText}`;
  throw new ServerError(message, response.status, key);
}

/** The message of a body in OpenAI's error shape; other bodies as they are, cut short. */
function errorMessage(body) {
  try {
    const { error } = JSON.parse(body);
    return String(error.message || error).slice(0, 2000);
  } catch {
    return body.slice(0, 500);
  }
}

/** The data of each server-sent event: lines end in CR, LF or CRLF and may be cut anywhere, inside a character too. */
async function* readServerSentEvents(stream) {
  const reader = stream.getReader(), decoder = new TextDecoder();
  let carry = '', data = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      const text = carry + (done ? decoder.decode() : decoder.decode(value, { stream: true }));
      // A CR at the end may be half of a CRLF: it waits for what follows.
      const lines = text.split(done ? /\r\n|\n|\r/ : /\r\n|\n|\r(?=[^])/);
      carry = lines.pop();
      for (const line of lines) {
        if (line === '') {
          if (data.length) yield data.join('\n');
          data = [];
        } else if (line.startsWith('data:')) {
          data.push(line.slice(line[5] === ' ' ? 6 : 5));
        } // comments (": ping") and other fields say nothing here
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** The chunks of a chat completion. Returns true at the end if the server said that it was the end. */
async function* streamChat(body, signal) {
  const response = await request('/v1/chat/completions', {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), signal,
  });
  if (/^application\/json/.test(response.headers.get('Content-Type') || '')) { // a server that does not stream
    const answer = await response.json();
    yield { ...answer, choices: (answer.choices || []).map(choice => ({ ...choice, delta: choice.message })) };
    return true;
  }
  let finished = false;
  for await (const data of readServerSentEvents(response.body)) {
    if (data.startsWith('[DONE]')) return true;
    let chunk;
    try {
      chunk = JSON.parse(data);
    } catch {
      throw new ServerError('The server sent an event that is not JSON: ' + data.slice(0, 200));
    }
    if (!isObject(chunk)) continue;
    if (chunk.error) throw new ServerError(errorMessage(data) || 'The server reports an error.');
    if (Array.isArray(chunk.choices) && chunk.choices.some(choice => choice && choice.finish_reason)) finished = true;
    yield chunk;
  }
  return finished;
}

async function loadModels() {
  try {
    const list = await (await request('/v1/models')).json();
    const models = Array.isArray(list.data) ? list.data : [];
    server.models = models.filter(model => isObject(model) && typeof model.id === 'string');
    server.model = server.models.find(model => model.id === preferences.model) || server.models[0] || null;
    byId('model').textContent = server.model ? server.model.id : 'No model';
  } catch (error) {
    byId('model').textContent = error.status ? error.message : 'The server does not answer.';
    if (error.status === 401) askForKey(error, loadModels);
  }
  renderModelChoice();
  renderSampling();
  renderGauge();
}

const waitingForKey = []; // what to do again once there is a key

function askForKey(error, then) {
  const dialog = byId('key-dialog');
  if (error.key !== apiKey.get()) { // one was entered since the request was sent
    then();
    return;
  }
  waitingForKey.push(then);
  if (dialog.open) return;
  byId('key').value = '';
  dialog.returnValue = '';
  dialog.showModal();
  byId('key').focus();
}

function closeKeyDialog() {
  const actions = waitingForKey.splice(0);
  if (byId('key-dialog').returnValue === 'use') {
    apiKey.set(byId('key').value.trim());
    for (const action of actions) action();
  }
  byId('key').value = '';
}

// ---- Preferences and stored conversations ----

const preferences = { theme: 'auto', sidebar: 'open', conversation: '', model: '', sampling: {}, stop: '' };

function loadPreferences() {
  try {
    const stored = JSON.parse(localStorage.getItem('onebit.preferences'));
    for (const name of Object.keys(preferences)) {
      if (typeof (stored || {})[name] === typeof preferences[name]) preferences[name] = stored[name];
    }
  } catch { /* a browser that refuses storage, or a damaged value: the defaults hold */ }
}

function savePreferences() {
  try { localStorage.setItem('onebit.preferences', JSON.stringify(preferences)); } catch { /* kept in memory */ }
}

/** Conversations in IndexedDB; where the browser refuses it, they live as long as the page. */
const store = {
  database: null,
  channel: typeof BroadcastChannel === 'function' ? new BroadcastChannel('onebit') : null,

  async open() {
    try {
      this.database = await new Promise((resolve, reject) => {
        const opening = indexedDB.open('onebit', 1);
        opening.onupgradeneeded = () => opening.result.createObjectStore('conversations', { keyPath: 'id' });
        opening.onsuccess = () => resolve(opening.result);
        opening.onerror = () => reject(opening.error);
        opening.onblocked = () => reject(new Error('blocked'));
      });
    } catch {
      toast('This browser refuses to store conversations: they last until the page is closed.');
    }
  },

  run(mode, action) {
    if (!this.database) return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      const transaction = this.database.transaction('conversations', mode);
      const result = action(transaction.objectStore('conversations'));
      transaction.oncomplete = () => resolve(result.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  },

  async all() {
    return (await this.run('readonly', objects => objects.getAll())) || [];
  },

  async write(action, identifier, quiet) {
    try {
      await this.run('readwrite', action);
      if (this.channel && !quiet) this.channel.postMessage(identifier);
    } catch (error) {
      toast('The browser could not store the conversation: ' + ((error && error.message) || 'no reason given'));
    }
  },

  /** A quiet write tells no other tab: it is one of many while an answer arrives or a draft is typed. */
  put(conversation, quiet = false) { return this.write(objects => objects.put(conversation), conversation.id, quiet); },
  delete(conversation) { return this.write(objects => objects.delete(conversation.id), conversation.id); },
};

// ---- Conversations ----
//
// { id, title, renamed, created, updated, system, draft, messages: [{ id, role, content, reasoning, state, … }] }
// The state of an answer: streaming, complete, stopped (by the user), interrupted (the connection broke) or failed.

let conversations = []; // the latest first
let current = newConversation();
const running = new Map(); // conversation id → { controller, message }

function newConversation() {
  return {
    id: newIdentifier(), title: '', renamed: false, created: Date.now(), updated: Date.now(),
    system: '', draft: '', messages: [],
  };
}

function newMessage(role, content) {
  const state = role === 'user' ? 'complete' : 'streaming';
  return { id: newIdentifier(), role, content, reasoning: '', state, created: Date.now() };
}

function titleOf(conversation) {
  if (conversation.renamed && conversation.title) return conversation.title;
  const question = conversation.messages.find(message => message.role === 'user');
  return question ? question.content.trim().split('\n')[0].slice(0, 80) : 'New conversation';
}

function saveConversation(conversation) {
  const isEmpty = !conversation.messages.length && !conversation.draft && !conversation.system;
  if (!conversations.includes(conversation)) {
    if (isEmpty) return;
    conversations.unshift(conversation);
  }
  conversation.updated = Date.now();
  store.put(conversation);
  renderConversationList();
}

/** Another tab has written a conversation: this one shows it too, but keeps its own draft. */
async function reloadConversation(identifier) {
  if (running.has(identifier)) return;
  const stored = await store.run('readonly', objects => objects.get(identifier));
  const position = conversations.findIndex(conversation => conversation.id === identifier);
  if (stored) {
    const conversation = validConversation(stored, 'The conversation');
    if (position < 0) conversations.push(conversation);
    else Object.assign(conversations[position], conversation, { draft: conversations[position].draft });
    if (identifier === current.id && !document.querySelector('.editor')) renderConversation();
  } else if (position >= 0 && identifier !== current.id) {
    conversations.splice(position, 1);
  }
  renderConversationList();
}

function openConversation(conversation) {
  saveDraft();
  current = conversation;
  preferences.conversation = conversation.id;
  savePreferences();
  byId('composer').value = conversation.draft;
  resizeComposer();
  renderConversation();
  renderConversationList();
  scrollToEnd();
}

function startConversation() {
  openConversation(newConversation());
  closeDrawer();
  byId('composer').focus();
}

function deleteConversation(conversation) {
  saveDraft();
  stop(conversation);
  const position = conversations.indexOf(conversation);
  conversations.splice(position, 1);
  store.delete(conversation);
  const neighbor = conversations[position] || conversations[position - 1] || newConversation();
  if (current === conversation) openConversation(neighbor);
  renderConversationList();
  toast(`Deleted “${titleOf(conversation).slice(0, 40)}”`, 'Undo', () => {
    conversations.splice(position, 0, conversation);
    store.put(conversation);
    openConversation(conversation);
  });
}

/** Changes the messages of a conversation in a way that can be taken back. */
function changeMessages(conversation, messages, description) {
  const before = conversation.messages;
  stop(conversation);
  conversation.messages = messages;
  saveConversation(conversation);
  if (conversation === current) renderConversation();
  toast(description, 'Undo', () => {
    stop(conversation);
    conversation.messages = before;
    saveConversation(conversation);
    openConversation(conversation);
  });
}

/** A stored or imported conversation with everything of the right type, else an error that says what is wrong. */
function validConversation(value, name) {
  const text = (object, key, fallback) => {
    if (object[key] === undefined && fallback !== undefined) return fallback;
    if (typeof object[key] !== 'string') throw new Error(`${name}: “${key}” should be text`);
    return object[key];
  };
  const time = value => Number.isFinite(value) ? value : Date.now();
  if (!isObject(value)) throw new Error(`${name} is not an object`);
  if (!Array.isArray(value.messages)) throw new Error(`${name} has no list of messages`);
  return {
    id: text(value, 'id', newIdentifier()), title: text(value, 'title', ''), renamed: value.renamed === true,
    created: time(value.created), updated: time(value.updated),
    system: text(value, 'system', ''), draft: text(value, 'draft', ''),
    messages: value.messages.map((message, index) => {
      if (!isObject(message) || !['user', 'assistant'].includes(message.role)) {
        throw new Error(`${name}: message ${index + 1} is neither of the user nor of the assistant`);
      }
      const valid = {
        id: text(message, 'id', newIdentifier()), role: message.role, content: text(message, 'content'),
        reasoning: text(message, 'reasoning', ''), created: time(message.created),
        state: ['complete', 'stopped', 'interrupted', 'failed'].includes(message.state) ? message.state
          : message.state === 'streaming' ? 'interrupted' : 'complete',
      };
      for (const key of ['error', 'finishReason']) if (typeof message[key] === 'string') valid[key] = message[key];
      for (const key of ['promptTokens', 'completionTokens', 'firstTokenSeconds', 'tokensPerSecond']) {
        if (Number.isFinite(message[key])) valid[key] = message[key];
      }
      return valid;
    }),
  };
}

function exportConversations() {
  const content = JSON.stringify({ format: 'onebit-conversations', version: 1, conversations }, null, 1);
  const address = URL.createObjectURL(new Blob([content], { type: 'application/json' }));
  const link = element('a', { href: address, download: `conversations-${new Date().toISOString().slice(0, 10)}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

/** Adds the conversations of an exported file; all of them or, with a message, none. */
async function importConversations(file) {
  let imported;
  try {
    if (file.size > 256 * 2 ** 20) throw new Error('it is larger than 256 MiB');
    let value;
    try {
      value = JSON.parse(await file.text());
    } catch {
      throw new Error('it is not JSON');
    }
    if (!isObject(value) || value.format !== 'onebit-conversations' || !Array.isArray(value.conversations)) {
      throw new Error('it is not an export of this page');
    }
    if (value.version !== 1) throw new Error(`its version is ${value.version}, this page reads version 1`);
    imported = value.conversations.map((conversation, index) => {
      return validConversation(conversation, `conversation ${index + 1}`);
    });
  } catch (error) {
    toast(`Nothing was imported from ${file.name}: ${error.message}.`);
    return;
  }
  let added = 0;
  for (const conversation of imported) {
    const existing = conversations.find(other => other.id === conversation.id);
    if (existing && JSON.stringify(existing.messages.map(message => message.content))
        === JSON.stringify(conversation.messages.map(message => message.content))) continue;
    if (existing) conversation.id = newIdentifier();
    conversations.push(conversation);
    await store.put(conversation);
    added++;
  }
  sortConversations();
  renderConversationList();
  const others = added < imported.length ? '; the others were here' : '';
  toast(`Imported ${added} of ${imported.length} conversations${others}.`);
}

function sortConversations() {
  conversations.sort((first, second) => second.updated - first.updated);
}

function renderConversationList() {
  sortConversations();
  const query = byId('search').value.trim().toLowerCase();
  const matches = conversation => !query || titleOf(conversation).toLowerCase().includes(query)
    || conversation.messages.some(message => message.content.toLowerCase().includes(query));
  const found = conversations.filter(matches);
  const list = byId('conversations');
  if (list.querySelector('input')) return; // a title is being edited
  const focused = Array.from(list.children).findIndex(item => item.contains(document.activeElement));
  list.replaceChildren(...found.map(conversation => {
    const title = titleOf(conversation);
    const open = element('button', { class: 'open', title, click() { openConversation(conversation); closeDrawer(); } },
      element('span', {}, title));
    if (conversation === current) open.setAttribute('aria-current', 'true');
    const item = element('li', {}, open,
      iconButton('edit', 'Rename', () => renameConversation(conversation, item)),
      iconButton('delete', 'Delete', () => deleteConversation(conversation)));
    item.classList.toggle('current', conversation === current);
    item.classList.toggle('running', running.has(conversation.id));
    return item;
  }));
  if (focused >= 0) (list.querySelectorAll('.open')[Math.min(focused, found.length - 1)] || byId('composer')).focus();
  byId('no-conversations').hidden = !query || found.length > 0;
  byId('title').textContent = titleOf(current);
  document.title = current.messages.length ? titleOf(current) + ' · OneBit' : 'OneBit';
}

function renameConversation(conversation, item) {
  const input = element('input', { 'aria-label': 'Title', maxlength: '200' });
  let done = false;
  const finish = save => {
    if (done) return;
    done = true;
    input.remove();
    if (save) {
      conversation.title = input.value.trim();
      conversation.renamed = conversation.title !== '';
      store.put(conversation);
    }
    renderConversationList();
  };
  input.value = titleOf(conversation);
  input.addEventListener('keydown', event => {
    if (event.key === 'Enter') finish(true);
    if (event.key === 'Escape') event.stopPropagation(), finish(false);
  });
  input.addEventListener('blur', () => finish(true));
  item.replaceChildren(input);
  input.select();
}

// ---- Messages on the page ----

const views = new Map(); // message → MessageView, of the current conversation

/** Where the reasoning of an answer ends. Templates may open <think> in the prompt, so only </think> need be there. */
function splitReasoning({ content, reasoning }) {
  const opening = /^\s*<think>/.exec(content), start = opening ? opening[0].length : 0;
  if (!opening && '<think>'.startsWith(content.trim())) return { reasoning, answerStart: content.length, open: false };
  const closing = content.indexOf('</think>', start);
  if (closing >= 0 && (opening || !content.slice(0, closing).includes('<think>'))) {
    const answerStart = closing + '</think>'.length;
    return { reasoning: reasoning + content.slice(start, closing), answerStart, open: false };
  }
  if (opening) return { reasoning: reasoning + content.slice(start), answerStart: content.length, open: true };
  return { reasoning, answerStart: 0, open: content === '' && reasoning !== '' };
}

const answerText = message => message.content.slice(splitReasoning(message).answerStart).trim();

function describeStatistics(message) {
  const parts = [];
  const speed = message.tokensPerSecond, first = message.firstTokenSeconds;
  if (speed) parts.push(`${speed < 100 ? speed.toFixed(1) : Math.round(speed).toLocaleString('en')} tokens/s`);
  if (first !== undefined) parts.push(`first token after ${first.toFixed(2)} s`);
  if (message.completionTokens) parts.push(`${message.completionTokens.toLocaleString('en')} tokens`);
  return parts.join(' · ');
}

function describeState(message) {
  if (message.state === 'stopped') return 'Stopped.';
  if (message.state === 'interrupted') return 'The connection broke. This is what had arrived.';
  if (message.state === 'failed') return message.error || 'The server reports an error.';
  if (message.state === 'complete' && !message.content && !message.reasoning) return 'The answer is empty.';
  if (message.finishReason === 'length') return 'Cut off: the limit on tokens was reached.';
  return '';
}

class MessageView {
  constructor(conversation, message) {
    const isUser = message.role === 'user';
    this.conversation = conversation;
    this.message = message;
    this.body = element('div', { class: isUser ? 'body' : 'body markdown' });
    this.notice = element('p', { class: 'notice', hidden: true });
    this.statistics = element('span', { class: 'stats' });
    const copy = iconButton('copy', 'Copy', () => copyText(isUser ? message.content : answerText(message), copy));
    this.footer = element('footer', {}, this.statistics, copy,
      isUser ? iconButton('edit', 'Edit', () => this.edit())
        : iconButton('regenerate', 'Regenerate', () => this.regenerate()),
      iconButton('delete', 'Delete', () => this.delete()));
    this.node = element('article', { class: `message ${message.role}`, 'aria-label': isUser ? 'You' : 'Answer' },
      this.body, this.notice, this.footer);
    if (isUser) this.body.textContent = message.content;
    else this.update();
  }

  /** Shows what has come of an answer, within some milliseconds a frame. */
  update() {
    const { message } = this, { reasoning, answerStart, open } = splitReasoning(message);
    const streaming = message.state === 'streaming';
    if (reasoning.trim()) this.updateReasoning(reasoning, open && streaming);
    if (!this.markdown || this.answerStart !== answerStart) {
      this.body.replaceChildren();
      this.markdown = new MarkdownView(this.body);
      this.answerStart = answerStart;
    }
    const finished = this.markdown.update(message.content.slice(answerStart));
    const waiting = streaming && !message.content && !reasoning;
    if (waiting && !this.waiting) {
      this.waiting = element('div', { class: 'waiting' }, 'Waiting for the first token');
      this.node.prepend(this.waiting);
    } else if (!waiting && this.waiting) {
      this.waiting.remove();
      this.waiting = null;
    }
    this.node.classList.toggle('streaming', streaming);
    this.notice.textContent = describeState(message);
    this.notice.hidden = !this.notice.textContent;
    this.statistics.textContent = describeStatistics(message);
    if (!finished) this.scheduleUpdate();
  }

  updateReasoning(text, thinking) {
    if (!this.reasoning) {
      this.reasoningSummary = element('summary');
      const area = element('div', { class: 'text' });
      this.reasoning = new ChunkedText(area);
      this.node.prepend(element('details', { class: 'reasoning' }, this.reasoningSummary, area));
    }
    const trimmed = text.trimStart();
    if (trimmed.length < this.reasoning.source.length) this.reasoning.clear(); // "</thi" was no text
    this.reasoning.append(trimmed.slice(this.reasoning.source.length));
    this.reasoningSummary.textContent = thinking ? 'Thinking…' : 'Reasoning';
  }

  /** Updates with the next frame; after costly frames later, so that the page stays quick to answer. */
  scheduleUpdate() {
    if (this.scheduled) return;
    this.scheduled = true;
    setTimeout(() => requestAnimationFrame(() => {
      const start = performance.now();
      this.scheduled = false;
      if (!this.node.isConnected) return;
      this.update();
      followText();
      const cost = performance.now() - start;
      this.pause = cost > 12 ? 3 * cost : 0;
    }), this.pause || 0);
  }

  edit() {
    if (this.node.classList.contains('editing')) return;
    const area = element('textarea', { 'aria-label': 'Edited message', rows: '3' });
    const close = () => {
      editor.replaceWith(this.body);
      this.node.classList.remove('editing');
      this.footer.hidden = false;
      byId('composer').focus();
    };
    const submit = () => {
      const { conversation, message } = this, content = area.value.trim();
      if (!content) return;
      const before = conversation.messages.slice(0, conversation.messages.indexOf(message));
      changeMessages(conversation, [...before, newMessage('user', content)], 'Message edited');
      generate(conversation);
      byId('composer').focus();
    };
    const editor = element('div', { class: 'editor' }, area, element('div', { class: 'buttons' },
      element('button', { click: close }, 'Cancel'),
      element('button', { class: 'primary', click: submit }, 'Save and send')));
    area.value = this.message.content;
    area.addEventListener('keydown', event => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) event.preventDefault(), submit();
      if (event.key === 'Escape') event.stopPropagation(), close();
    });
    this.body.replaceWith(editor);
    this.node.classList.add('editing');
    this.footer.hidden = true;
    area.style.height = Math.min(area.scrollHeight + 4, innerHeight / 2) + 'px';
    area.focus();
  }

  regenerate() {
    const { conversation, message } = this;
    const before = conversation.messages.slice(0, conversation.messages.indexOf(message));
    changeMessages(conversation, before, 'Answer replaced');
    generate(conversation);
  }

  delete() {
    const { conversation, message } = this;
    changeMessages(conversation, conversation.messages.filter(other => other !== message), 'Message deleted');
  }
}

function renderConversation() {
  views.clear();
  for (const message of current.messages) views.set(message, new MessageView(current, message));
  const nodes = Array.from(views.values(), view => view.node);
  if (current.system.trim()) {
    nodes.unshift(element('button', { id: 'system-note', title: 'Edit the system prompt', click: openSettings },
      'System prompt: ' + current.system.trim()));
  }
  byId('messages').replaceChildren(...nodes);
  byId('welcome').hidden = current.messages.length > 0;
  byId('system-prompt').value = current.system;
  renderGauge();
  renderSendButton();
}

function renderGauge() {
  const answer = current.messages.slice().reverse().find(message => message.promptTokens !== undefined);
  const used = answer ? answer.promptTokens + (answer.completionTokens || 0) : 0;
  const limit = server.model && Number.isFinite(server.model.max_model_len) ? server.model.max_model_len : 0;
  const gauge = byId('gauge');
  gauge.hidden = !used && !limit;
  const shown = used.toLocaleString('en');
  byId('gauge-text').textContent = limit ? `${shown} / ${limit.toLocaleString('en')}` : `${shown} tokens`;
  byId('gauge-track').hidden = !limit;
  byId('gauge-fill').style.width = limit ? Math.min(100, 100 * used / limit) + '%' : '0';
  gauge.classList.toggle('full', limit > 0 && used > 0.9 * limit);
  gauge.title = 'Tokens of the context used by the last answer and its prompt';
  gauge.setAttribute('aria-valuenow', used);
  gauge.setAttribute('aria-valuemax', limit || used);
  gauge.setAttribute('aria-valuetext', limit ? `${used} of ${limit} tokens` : `${used} tokens`);
}

// Scrolling follows the text until the user scrolls up, and again from the moment the end is back in view.

let following = true, lastScrollTop = 0;

function observeScroll() {
  const { scrollTop, scrollHeight, clientHeight } = byId('scroller');
  const distance = scrollHeight - clientHeight - scrollTop;
  if (scrollTop < lastScrollTop && distance > 2) following = false;
  else if (distance < 40) following = true;
  lastScrollTop = scrollTop;
  byId('to-latest').hidden = distance < 200;
}

function followText() {
  const scroller = byId('scroller');
  if (following) scroller.scrollTop = scroller.scrollHeight;
  lastScrollTop = scroller.scrollTop;
}

function scrollToEnd() {
  following = true;
  followText();
}

// ---- Asking and answering ----

/** The messages a request carries: without reasoning and empty answers; neighbors of one role joined, since templates
    demand that roles alternate. */
function requestMessages(conversation) {
  const messages = conversation.system.trim() ? [{ role: 'system', content: conversation.system.trim() }] : [];
  for (const message of conversation.messages) {
    const content = message.role === 'user' ? message.content : answerText(message);
    const last = messages[messages.length - 1];
    if (!content) continue;
    if (last && last.role === message.role) last.content += '\n\n' + content;
    else messages.push({ role: message.role, content });
  }
  return messages;
}

/** Answers the last message of a conversation. */
async function generate(conversation) {
  const message = newMessage('assistant', ''), controller = new AbortController();
  conversation.messages.push(message);
  running.set(conversation.id, { controller, message });
  saveConversation(conversation);
  if (conversation === current) {
    views.set(message, new MessageView(conversation, message));
    byId('messages').append(views.get(message).node);
    byId('welcome').hidden = true;
    renderSendButton();
    scrollToEnd();
  }
  announce('Answering');

  const started = performance.now();
  let first = 0, last = 0, chunks = 0, saved = started, yielded = started;
  try {
    if (!server.model) await loadModels(); // it did not answer, or had no key, when the page was opened
    const stream = streamChat({
      model: server.model ? server.model.id : 'default', messages: requestMessages(conversation),
      stream: true, stream_options: { include_usage: true }, ...samplingParameters(),
    }, controller.signal);
    for (;;) {
      const { done, value: chunk } = await stream.next();
      if (message.state !== 'streaming') break; // stopped
      if (done) {
        message.state = chunk ? 'complete' : 'interrupted';
        break;
      }
      const choice = (Array.isArray(chunk.choices) && chunk.choices[0]) || {}, delta = choice.delta || {};
      const reasoning = delta.reasoning_content || delta.reasoning;
      if (typeof delta.content === 'string') message.content += delta.content;
      if (typeof reasoning === 'string') message.reasoning += reasoning;
      if (delta.content || reasoning) {
        last = performance.now();
        first = first || last;
        chunks++;
      }
      if (choice.finish_reason) message.finishReason = String(choice.finish_reason);
      if (isObject(chunk.usage)) recordUsage(message, chunk.usage);
      if (isObject(chunk.timings) && chunk.timings.generated_tokens_per_second > 0) {
        message.tokensPerSecond = chunk.timings.generated_tokens_per_second;
      }
      const now = performance.now();
      if (views.has(message)) views.get(message).scheduleUpdate();
      if (now - saved > 2000) saved = now, store.put(conversation, true);
      if (now - yielded > 20 && !document.hidden) { // many events at once must not hold up the page
        await new Promise(resolve => setTimeout(resolve));
        yielded = performance.now();
      }
    }
  } catch (error) {
    if (message.state === 'streaming') {
      message.state = error instanceof ServerError || !first ? 'failed' : 'interrupted';
      message.error = error instanceof ServerError ? error.message : 'The server does not answer. Is it still running?';
    }
    if (error.status === 401) {
      askForKey(error, () => {
        conversation.messages = conversation.messages.filter(other => other !== message);
        if (conversation === current) renderConversation();
        generate(conversation);
      });
    }
  }
  if (first) {
    message.firstTokenSeconds = (first - started) / 1000;
    const tokens = message.completionTokens || chunks;
    if (!message.tokensPerSecond && last - first > 50) message.tokensPerSecond = 1000 * (tokens - 1) / (last - first);
  }
  finishAnswer(conversation, message);
}

function recordUsage(message, usage) {
  if (Number.isFinite(usage.prompt_tokens)) message.promptTokens = usage.prompt_tokens;
  if (Number.isFinite(usage.completion_tokens)) message.completionTokens = usage.completion_tokens;
}

function finishAnswer(conversation, message) {
  const entry = running.get(conversation.id);
  if (entry && entry.message === message) running.delete(conversation.id);
  if (conversations.includes(conversation)) saveConversation(conversation);
  const view = views.get(message);
  if (view) {
    view.update();
    followText();
    renderGauge();
    renderSendButton();
  }
  const spoken = view ? view.body.textContent.slice(0, 3000) : `An answer in ${titleOf(conversation)}`;
  announce(`${describeState(message)} ${spoken}`.trim());
}

function stop(conversation) {
  const entry = running.get(conversation.id);
  if (!entry) return;
  entry.message.state = 'stopped';
  running.delete(conversation.id);
  entry.controller.abort();
}

// ---- Composer ----

let draftTimer = 0;

function resizeComposer() {
  const composer = byId('composer');
  composer.style.height = 'auto';
  composer.style.height = composer.scrollHeight + 'px';
}

function saveDraft() {
  clearTimeout(draftTimer);
  const draft = byId('composer').value;
  if (draft === current.draft) return;
  current.draft = draft;
  if (conversations.includes(current)) store.put(current, true);
  else saveConversation(current);
}

function send() {
  const composer = byId('composer'), content = composer.value.trim();
  if (running.has(current.id) || !content) return;
  composer.value = '';
  current.draft = '';
  clearTimeout(draftTimer);
  resizeComposer();
  const message = newMessage('user', content);
  current.messages.push(message);
  views.set(message, new MessageView(current, message));
  byId('messages').append(views.get(message).node);
  preferences.conversation = current.id;
  savePreferences();
  generate(current);
}

function renderSendButton() {
  const button = byId('send'), stops = running.has(current.id);
  button.setAttribute('aria-label', stops ? 'Stop' : 'Send');
  button.title = stops ? 'Stop (Esc)' : 'Send (Enter)';
  button.disabled = !stops && !byId('composer').value.trim();
  button.replaceChildren(icon(stops ? 'stop' : 'send'));
}

function editLastQuestion() {
  const message = current.messages.slice().reverse().find(other => other.role === 'user');
  if (message) views.get(message).edit();
  return message !== undefined;
}

// ---- Settings ----

const SAMPLING = [
  { name: 'temperature', label: 'Temperature', min: 0, max: 2, step: 0.05 },
  { name: 'top_p', label: 'Top p', min: 0, max: 1, step: 0.01 },
  { name: 'top_k', label: 'Top k', min: 0, max: 1000000, step: 1 },
  { name: 'min_p', label: 'Min p', min: 0, max: 1, step: 0.01 },
  { name: 'repetition_penalty', label: 'Repetition penalty', min: 0.1, max: 2, step: 0.05 },
  { name: 'frequency_penalty', label: 'Frequency penalty', min: -2, max: 2, step: 0.1 },
  { name: 'presence_penalty', label: 'Presence penalty', min: -2, max: 2, step: 0.1 },
  { name: 'seed', label: 'Seed', min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, placeholder: 'random' },
  { name: 'max_tokens', label: 'Max tokens', min: 1, max: 10000000, step: 1 },
];

/** The number in a sampling field, null if it is empty, NaN if the server would refuse it. */
function samplingValue({ name, min, max, step }) {
  const text = String(preferences.sampling[name] || '').trim(), value = Number(text);
  if (!text) return null;
  return value >= min && value <= max && (step !== 1 || Number.isInteger(value)) ? value : NaN;
}

function samplingParameters() {
  const parameters = {};
  for (const field of SAMPLING) {
    const value = samplingValue(field);
    if (value !== null && !Number.isNaN(value)) parameters[field.name] = value;
  }
  const stops = preferences.stop.split('\n').filter(line => line !== '')
    .map(line => line.replace(/\\([nt\\])/g, (escape, name) => ({ n: '\n', t: '\t', '\\': '\\' })[name]));
  if (stops.length) parameters.stop = stops;
  return parameters;
}

function renderSampling() {
  const defaults = (server.model || {}).default_sampling_params || {};
  byId('sampling').replaceChildren(...SAMPLING.map(field => {
    const input = element('input', {
      type: 'text', inputmode: field.step === 1 ? 'numeric' : 'decimal', autocomplete: 'off', name: field.name,
      placeholder: Number.isFinite(defaults[field.name]) ? defaults[field.name] : field.placeholder || 'default',
    });
    const check = () => {
      const invalid = Number.isNaN(samplingValue(field));
      input.setAttribute('aria-invalid', invalid);
      input.title = `${field.step === 1 ? 'A whole number' : 'A number'} from ${field.min} to ${field.max}`;
    };
    input.value = preferences.sampling[field.name] || '';
    input.addEventListener('input', () => {
      preferences.sampling[field.name] = input.value;
      savePreferences();
      check();
    });
    check();
    return element('label', {}, field.label, input);
  }));
  byId('stop-strings').value = preferences.stop;
}

function renderModelChoice() {
  byId('model-field').hidden = server.models.length < 2;
  byId('model-choice').replaceChildren(...server.models.map(model => {
    return element('option', { value: model.id, selected: model === server.model }, model.id);
  }));
}

function openSettings() {
  renderSampling();
  byId('forget-key').hidden = !apiKey.get();
  byId('settings').showModal();
}

function setTheme(theme) {
  preferences.theme = ['light', 'dark'].includes(theme) ? theme : 'auto';
  if (preferences.theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = preferences.theme;
  const label = { auto: 'Colors: as the system', light: 'Colors: light', dark: 'Colors: dark' }[preferences.theme];
  byId('theme').replaceChildren(icon(preferences.theme));
  byId('theme').setAttribute('aria-label', label);
  byId('theme').title = label;
}

// ---- Sidebar and keyboard ----

const phone = matchMedia('(max-width: 760px)');

/** On a phone the sidebar is a drawer over the page. */
function setSidebar(open) {
  document.body.dataset.sidebar = open ? 'open' : 'closed';
  byId('toggle-sidebar').setAttribute('aria-expanded', open);
  byId('scrim').hidden = !(open && phone.matches);
  document.querySelector('main').inert = open && phone.matches;
  if (!phone.matches) {
    preferences.sidebar = open ? 'open' : 'closed';
    savePreferences();
  } else if (open) {
    byId('new-conversation').focus();
  }
}

const sidebarIsOpen = () => document.body.dataset.sidebar === 'open';

function closeDrawer() {
  if (phone.matches) setSidebar(false);
}

function handleKey(event) {
  const control = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
  if (document.querySelector('dialog[open]')) return;
  if (control && event.shiftKey && key === 'o') {
    startConversation();
  } else if (control && !event.shiftKey && key === 'k') {
    setSidebar(true);
    byId('search').focus();
    byId('search').select();
  } else if (control && !event.shiftKey && key === 'b') {
    setSidebar(!sidebarIsOpen());
  } else if (key === 'escape' && phone.matches && sidebarIsOpen()) {
    closeDrawer();
    byId('toggle-sidebar').focus();
  } else if (key === 'escape' && running.has(current.id)) {
    stop(current);
  } else {
    return;
  }
  event.preventDefault();
}

function handleComposerKey(event) {
  if (event.isComposing) return; // Enter chooses a candidate of an input method
  if (event.key === 'Enter' && !event.shiftKey) event.preventDefault(), send();
  if (event.key === 'ArrowUp' && !event.target.value && editLastQuestion()) event.preventDefault();
}

function addListeners() {
  const on = (id, name, action) => byId(id).addEventListener(name, action);
  on('new-conversation', 'click', startConversation);
  on('search', 'input', renderConversationList);
  on('export', 'click', exportConversations);
  on('import', 'click', () => byId('import-file').click());
  on('import-file', 'change', event => {
    if (event.target.files[0]) importConversations(event.target.files[0]);
    event.target.value = '';
  });
  on('toggle-sidebar', 'click', () => setSidebar(!sidebarIsOpen()));
  on('scrim', 'click', closeDrawer);
  on('theme', 'click', () => {
    setTheme({ auto: 'light', light: 'dark', dark: 'auto' }[preferences.theme]);
    savePreferences();
  });
  on('scroller', 'scroll', observeScroll);
  on('to-latest', 'click', scrollToEnd);
  on('composer', 'keydown', handleComposerKey);
  on('composer', 'input', () => {
    resizeComposer();
    renderSendButton();
    clearTimeout(draftTimer);
    draftTimer = setTimeout(saveDraft, 400);
  });
  on('send', 'click', () => running.has(current.id) ? stop(current) : send());
  on('open-settings', 'click', openSettings);
  on('close-settings', 'click', () => byId('settings').close());
  on('done-settings', 'click', () => byId('settings').close());
  on('system-prompt', 'change', event => {
    current.system = event.target.value;
    saveConversation(current);
    renderConversation();
  });
  on('stop-strings', 'input', event => {
    preferences.stop = event.target.value;
    savePreferences();
  });
  on('reset-sampling', 'click', () => {
    preferences.sampling = {};
    preferences.stop = '';
    savePreferences();
    renderSampling();
  });
  on('model-choice', 'change', event => {
    server.model = server.models.find(model => model.id === event.target.value);
    preferences.model = server.model.id;
    savePreferences();
    byId('model').textContent = server.model.id;
    renderSampling();
    renderGauge();
  });
  on('forget-key', 'click', () => {
    apiKey.set('');
    byId('forget-key').hidden = true;
  });
  on('use-key', 'click', () => byId('key-dialog').close('use'));
  on('cancel-key', 'click', () => byId('key-dialog').close(''));
  on('key-dialog', 'close', closeKeyDialog);
  on('key', 'keydown', event => {
    if (event.key === 'Enter') event.preventDefault(), byId('key-dialog').close('use');
  });
  document.addEventListener('keydown', handleKey);
  phone.addEventListener('change', () => setSidebar(!phone.matches && preferences.sidebar === 'open'));
  addEventListener('pagehide', () => {
    saveDraft();
    if (running.has(current.id)) store.put(current, true);
  });
  if (store.channel) store.channel.addEventListener('message', event => reloadConversation(event.data));
}

async function start() {
  loadPreferences();
  setTheme(preferences.theme);
  setSidebar(!phone.matches && preferences.sidebar === 'open');
  addListeners();
  loadModels();
  await store.open();
  for (const stored of await store.all().catch(() => [])) {
    try {
      conversations.push(validConversation(stored, 'A stored conversation'));
    } catch (error) {
      toast(`${error.message}: it is not shown.`);
    }
  }
  sortConversations();
  openConversation(conversations.find(conversation => conversation.id === preferences.conversation) || current);
  byId('composer').focus();
}

start();
</script>
</body>
</html>
"""##
}
