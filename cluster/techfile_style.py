"""How the page of the technical documentation looks: on screens of any width, and on paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b2430; --soft: #56606d; --line: #d8dde4; --page: #fff;
  --raised: #f5f7fa; --accent: #0b5cad; --gap: #8a4b00; --gap-page: #fff6e6; --bar: #9cc3ec;
  --dot: #0b4a8a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ee; --soft: #a3adba; --line: #343c48; --page: #12161c; --raised: #1b212a;
    --accent: #7db7f5; --gap: #ffc46b; --gap-page: #2b2314; --bar: #2f5f93; --dot: #a8d1ff; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
a { color: var(--accent); text-underline-offset: .15em; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .86em; }
.frame { display: grid; grid-template-columns: 17rem minmax(0, 52rem); gap: 0 3rem;
  grid-template-rows: auto 1fr; max-width: 76rem; margin: 0 auto; padding: 2rem 1.5rem 5rem; }
header { grid-area: 1 / 2; min-width: 0; overflow-wrap: anywhere; }
nav { grid-area: 1 / 1 / 3 / 1; font-size: .875rem; position: sticky; top: 1rem; align-self: start;
  max-height: calc(100vh - 2rem); overflow-y: auto; }
nav h2 { font-size: .875rem; margin: 0 0 .5rem; color: var(--soft); border: 0; padding: 0; }
nav ol { list-style: none; margin: 0; padding: 0; }
nav ol ol { padding-left: 1rem; }
nav li { margin: .15rem 0; }
nav a { color: var(--ink); text-decoration: none; display: flex; gap: .5rem; }
nav a:hover { color: var(--accent); text-decoration: underline; }
nav .gaps { color: var(--gap); margin-left: auto; white-space: nowrap; }
main { grid-area: 2 / 2; min-width: 0; overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .75rem; }
h2 { font-size: 1.4rem; line-height: 1.25; margin: 3rem 0 .25rem; padding-top: 1rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.1rem; margin: 2rem 0 .25rem; }
h2 .number, h3 .number { color: var(--soft); font-weight: 500; margin-right: .5rem; }
.asks { color: var(--soft); font-size: .9rem; margin: 0 0 1rem; }
dl.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .25rem 1rem;
  margin: 1rem 0; padding: 1rem; background: var(--raised); border-radius: 6px; font-size: .9rem; }
dl.facts dt { color: var(--soft); } dl.facts dd { margin: 0; }
.item { margin: 1rem 0; }
.item > p { margin: 0; }
blockquote { margin: .25rem 0 0; padding: .25rem 0 .25rem 1rem; border-left: 3px solid var(--line);
  white-space: pre-wrap; }
.gap { background: var(--gap-page); border-left: 3px solid var(--gap); padding: .5rem .9rem;
  border-radius: 0 4px 4px 0; margin: .75rem 0; }
.gap strong { color: var(--gap); }
ul.evidence { list-style: none; margin: .3rem 0 0; padding: 0; display: flex; flex-wrap: wrap;
  gap: .15rem .9rem; font-size: .8rem; }
ul.evidence::before { content: "Evidence:"; color: var(--soft); }
.scroll { overflow-x: auto; margin: .25rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .875rem;
  font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption, .caption { text-align: left; font-weight: 600; margin: 1.5rem 0 .25rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0;
  border-bottom: 1px solid var(--line); }
td { overflow-wrap: break-word; max-width: 26rem; }
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
td.long { overflow-wrap: anywhere; min-width: 12rem; }
.plot { width: 100%; max-width: 32rem; height: auto; display: block; margin: .5rem 0; }
.plot .grid { stroke: var(--line); } .plot .zero { stroke: var(--soft); stroke-width: 1.5; }
.plot .tick { fill: var(--soft); font-size: 9px; text-anchor: middle; }
.plot .label { fill: var(--ink); font-size: 10.5px; paint-order: stroke; stroke: var(--page);
  stroke-width: 3px; }
.plot .range { fill: var(--bar); } .plot .point { fill: var(--dot); }
.plot .middle { stroke: var(--dot); stroke-width: 1.5; }
.event { padding: .75rem 0; border-bottom: 1px solid var(--line); }
.event h3 { margin: 0 0 .35rem; font-size: 1rem; }
.event pre { background: var(--raised); padding: .75rem; border-radius: 6px; margin: .5rem 0 0;
  max-height: 16rem; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
.event p { margin: .15rem 0; font-size: .875rem; }
:target { outline: 2px solid var(--accent); outline-offset: 4px; border-radius: 2px; }
@media (max-width: 900px) {
  .frame { display: block; padding: 1.25rem 1rem 3rem; }
  nav { position: static; max-height: none; margin: 1.5rem 0; }
  nav a { padding: .2rem 0; }
  dl.facts { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dl.facts dd { margin-bottom: .5rem; }
  h1 { font-size: 1.5rem; }
}
@page { size: A4; margin: 18mm 16mm; }
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb; --page: #fff;
    --raised: #f3f3f3; --accent: #003c7a; --gap: #6b3a00; --gap-page: #fff; --bar: #b9cfe6;
    --dot: #003c7a; }
  body { font-size: 10pt; }
  .frame { display: block; padding: 0; max-width: none; }
  nav { position: static; max-height: none; overflow: visible; break-after: page; }
  h2, h3, caption, .caption { break-after: avoid; }
  tr, .gap, .plot, .item > p { break-inside: avoid; }
  .scroll { overflow: visible; }
  .event pre { max-height: none; overflow: visible; font-size: 7.5pt; }
  table { font-size: 8.5pt; }
  td { max-width: none; }
  td.long { min-width: 0; }
  th { white-space: normal; }
  a { text-decoration: none; }
}
"""
