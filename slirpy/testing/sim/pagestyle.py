"""Style and script of the page of a run."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root { color-scheme: light dark; --ink:#1f2328; --paper:#fff; --soft:#d0d7de; --band:#f6f8fa; --dim:#59636e;
  --bad:#d1242f; --late:#9a6700; --link:#0969da; --good:#1a7f37 }
@media (prefers-color-scheme: dark) { :root { --ink:#e6edf3; --paper:#0d1117; --soft:#30363d; --band:#161b22;
  --dim:#9198a1; --bad:#ff7b72; --late:#e3b341; --link:#58a6ff; --good:#56d364 } }
* { box-sizing:border-box }
body { margin:0; font:13px/1.45 system-ui,sans-serif; color:var(--ink); background:var(--paper);
  height:100vh; display:flex; flex-direction:column }
header { padding:8px 12px; border-bottom:1px solid var(--soft); max-height:34vh; overflow:auto }
h1 { font-size:16px; margin:0 } header p { margin:2px 0; white-space:pre-wrap } pre { margin:4px 0; overflow:auto }
ul { margin:2px 0; padding-left:20px } .idle { color:var(--late) }
form { display:flex; flex-wrap:wrap; gap:4px 14px; padding:6px 12px; border-bottom:1px solid var(--soft);
  background:var(--band); align-items:center }
form label { white-space:nowrap } form select { max-width:60vw }
#hosts label { margin-right:10px } #count { color:var(--dim); margin-left:auto }
main { flex:1; min-height:0; display:grid; grid-template-columns:minmax(0,3fr) minmax(0,2fr) }
#ladder { overflow:auto; position:relative; border-right:1px solid var(--soft) }
#names { position:sticky; top:0; z-index:1; height:24px; background:var(--band); border-bottom:1px solid var(--soft) }
#names b { position:absolute; top:2px; transform:translateX(-50%); white-space:nowrap;
  overflow:hidden; text-overflow:ellipsis }
#rows { position:relative }
.row { position:absolute; left:0; right:0; height:20px; white-space:pre; font-family:ui-monospace,monospace;
  font-size:12px; line-height:20px }
.row:hover, .row.here { background:var(--band) } .row time { position:absolute; left:8px; color:var(--dim) }
.row svg { position:absolute; left:0; top:0 } .row span { position:absolute }
path.pole { stroke:var(--soft) } .row path.sent { stroke:var(--ink) } .row path.lost { stroke:var(--bad) }
.row path.late, .row path.arrival { stroke:var(--late); stroke-dasharray:2 3 }
.row path.head { stroke-dasharray:none }
.remark { position:static !important; color:var(--late) } .lost .remark { color:var(--bad) }
.note { color:var(--link) } .exception, .exception .text { color:var(--bad) }
.fault { color:var(--bad); font-weight:600 }
aside { display:grid; grid-template-rows:auto minmax(0,1fr); min-height:0 }
#drawings { overflow:auto; max-height:52vh; border-bottom:1px solid var(--soft) }
#drawings svg { max-width:100%; height:auto }
#log { overflow:auto; padding:6px 10px; font-family:ui-monospace,monospace; font-size:12px }
#log div { display:grid; grid-template-columns:76px 90px 1fr; gap:8px; cursor:pointer; padding:1px 2px }
#log div:hover { background:var(--band) } #log .text { white-space:pre-wrap; overflow-wrap:anywhere }
#log time, #log .who { color:var(--dim); overflow:hidden; text-overflow:ellipsis }
@media (max-width:900px) { main { grid-template-columns:minmax(0,1fr); grid-template-rows:60vh 60vh }
  body { height:auto } }
"""

SCRIPT = """
'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const HEIGHT = 20, FIRST = 110, NS = 'http://www.w3.org/2000/svg';
const GAP = Math.max(60, Math.min(120, 480 / Math.max(data.hosts.length - 1, 1)));
const byId = name => document.getElementById(name);
const seconds = ns => (ns / 1e9).toFixed(6);
const make = (tag, name, text) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
};
let lanes = [], shown = [], here = null;

const x = host => FIRST + lanes[host] * GAP;
const line = (svg, name, d) => {
  const path = document.createElementNS(NS, 'path');
  path.setAttribute('class', name); path.setAttribute('d', d); path.setAttribute('fill', 'none');
  svg.append(path);
};

function draw(row, index) {
  const [time, source, target, fate, label, remark] = row;
  const element = make('div', 'row ' + fate + (row === here ? ' here' : ''));
  element.style.top = index * HEIGHT + 'px';
  const count = lanes.filter(lane => lane !== undefined).length, end = FIRST + count * GAP - GAP / 2;
  element.append(make('time', '', seconds(time)));
  const svg = document.createElementNS(NS, 'svg');
  svg.setAttribute('width', end); svg.setAttribute('height', HEIGHT);
  for (const lane of lanes) if (lane !== undefined) line(svg, 'pole', `M${FIRST + lane * GAP} 0v${HEIGHT}`);
  const text = make('span', 'text', label);
  text.style.left = end + 'px';
  if (target >= 0) {
    const left = x(source), right = x(target), step = left < right ? 1 : -1;
    const stop = fate === 'lost' ? right - step * 22 : fate === 'late' ? right - step * 14 : right;
    line(svg, fate, `M${left} 10H${stop}`);
    if (fate === 'lost') line(svg, 'lost head', `M${stop - 4} 6l8 8m0-8l-8 8`);
    else if (fate !== 'late') line(svg, fate + ' head', `M${right - step * 7} 6l${step * 7} 4l${-step * 7} 4`);
    if (remark) text.append(make('span', 'remark', ', ' + remark));
  } else {
    text.style.left = (source >= 0 ? x(source) + 8 : FIRST - 20) + 'px';
    text.textContent = (source >= 0 ? '\\u25aa ' : '\\u2550\\u2550 ') + label.replaceAll('\\n', ' \\u23ce ');
  }
  element.title = `${seconds(time)} s  ${label}${remark ? ', ' + remark : ''}`;
  element.append(svg, text);
  return element;
}

function paint() {
  const ladder = byId('ladder'), rows = byId('rows');
  const first = Math.max(0, Math.floor(ladder.scrollTop / HEIGHT) - 10);
  const last = Math.min(shown.length, first + Math.ceil(ladder.clientHeight / HEIGHT) + 20);
  rows.replaceChildren(...shown.slice(first, last).map((row, index) => draw(row, first + index)));
}

function filter() {
  const wanted = new Set([...document.querySelectorAll('#hosts input:checked')].map(box => +box.value));
  const connection = byId('connection').value, words = byId('words').value.toLowerCase();
  lanes = []; let lane = 0;
  data.hosts.forEach((_, host) => { if (wanted.has(host)) lanes[host] = lane++; });
  const visible = host => host < 0 || wanted.has(host);
  shown = data.rows.filter(row => visible(row[1]) && visible(row[2])
    && (!connection || row[2] < 0 || row[6] === +connection)
    && (!byId('trouble').checked || row[2] < 0 || row[3] !== 'sent')
    && (!words || (row[4] + ' ' + row[5]).toLowerCase().includes(words)));
  byId('names').replaceChildren(...data.hosts.map((name, host) => {
    const title = make('b', '', name); title.title = name;
    if (lanes[host] === undefined) title.hidden = true; else title.style.left = x(host) + 'px';
    title.style.maxWidth = GAP - 6 + 'px';
    return title;
  }));
  byId('rows').style.height = shown.length * HEIGHT + 'px';
  byId('rows').style.minWidth = FIRST + lane * GAP + 620 + 'px';
  byId('count').textContent = `${shown.length} of ${data.rows.length} rows`
    + (data.leftOut ? `; ${data.leftOut} earlier ones are left out` : '');
  for (const entry of byId('log').children) entry.hidden = !visible(+entry.dataset.host)
    || (words && !entry.textContent.toLowerCase().includes(words));
  const drawings = [...document.querySelectorAll('.drawing')];
  const chosen = drawings.find(each => each.dataset.number === connection) || (connection ? null : drawings[0]);
  for (const each of drawings) each.hidden = each !== chosen;
  paint();
}

function go(row) {
  here = row;
  let index = shown.indexOf(row);
  if (index < 0) index = shown.findIndex(each => each[0] >= row[0]);
  byId('ladder').scrollTop = Math.max(0, index * HEIGHT - byId('ladder').clientHeight / 2);
  paint();
}

data.hosts.forEach((name, host) => {
  const label = make('label'), box = make('input');
  box.type = 'checkbox'; box.checked = true; box.value = host;
  label.append(box, ' ' + name);
  byId('hosts').append(label);
});
for (const row of data.rows) {
  if (row[2] >= 0) continue;
  const entry = make('div', row[3]);
  entry.dataset.host = row[1];
  const text = row[3] === 'log' || row[3] === 'note' || row[4].startsWith(row[3]) ? row[4] : `${row[3]}: ${row[4]}`;
  const who = data.hosts[row[1]] ?? '';
  entry.append(make('time', '', seconds(row[0])), make('span', 'who', who), make('span', 'text', text));
  entry.onclick = () => go(row);
  byId('log').append(entry);
}
if (!byId('log').children.length) byId('log').append(make('p', '', 'The programs logged nothing.'));
byId('filter').addEventListener('input', filter);
byId('filter').addEventListener('submit', event => event.preventDefault());
byId('ladder').addEventListener('scroll', paint);
window.addEventListener('resize', paint);
filter();
const trouble = data.rows.find(row => row[3] === 'exception') || data.rows.at(-1);
if (trouble) go(trouble);
"""
