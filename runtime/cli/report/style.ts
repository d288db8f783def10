/** How a page looks, on light and on dark: by the system's choice, or by `data-theme`. */
const light =
  "--ground: #fbfaf7; --card: #ffffff; --line: #e2dfd6; --text: #23211c; --soft: #6b675d; --accent: #2f6b3f; --alert: #b3261e;" +
  "--s0: #1f77b4; --s1: #d1662b; --s2: #3a8f4e; --s3: #b5348b; --s4: #7a5cc2; --s5: #a9852a; --s6: #17929c;";
const dark =
  "--ground: #16181a; --card: #1f2224; --line: #34383b; --text: #e9e7e1; --soft: #a3a097; --accent: #7cc48e; --alert: #f2867c;" +
  "--s0: #63a9e0; --s1: #f08d57; --s2: #74c586; --s3: #e57fc4; --s4: #ab93ec; --s5: #d9b85c; --s6: #5cc4cd;";

/** The style sheet. */
export const style = `
:root { color-scheme: light dark; ${light} }
@media (prefers-color-scheme: dark) { :root { ${dark} } }
:root[data-theme="light"] { color-scheme: light; ${light} }
:root[data-theme="dark"] { color-scheme: dark; ${dark} }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 84rem; padding: 1.5rem; background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; }
header { display: flex; justify-content: space-between; align-items: start; gap: 1rem; }
h1 { margin: 0; font-size: 1.5rem; color: var(--accent); }
h2 { margin: 0; font-size: 1.05rem; }
p { margin: .2rem 0 .8rem; color: var(--soft); overflow-wrap: anywhere; }
button { font: inherit; font-size: .85rem; padding: .3rem .7rem; color: var(--soft); background: var(--card); border: 1px solid var(--line); border-radius: .4rem; cursor: pointer; white-space: nowrap; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; margin: 0 0 1rem; }
.figures div, section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .9rem 1rem; min-width: 0; }
dt { font-size: .8rem; color: var(--soft); }
dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
dd.note { font-size: .8rem; color: var(--soft); }
.facts { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15rem 1rem; margin: 0 0 1rem; }
.facts dd { font-size: .85rem; overflow-wrap: anywhere; }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(34rem, 100%), 1fr)); gap: .8rem; }
section.wide { grid-column: 1 / -1; }
.warnings { border-color: var(--alert); margin: 0 0 1rem; }
.warnings h2 { color: var(--alert); }
.warnings ul { margin: .3rem 0 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.chart { position: relative; height: 21rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; border-bottom: 1px solid var(--soft); padding: .3rem .45rem; cursor: pointer; vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); padding: .25rem .45rem; overflow-wrap: anywhere; }
.number { text-align: right; }
td.number { white-space: nowrap; }
pre { overflow-x: auto; margin: .5rem 0 0; font: .85rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
@media print { button { display: none; } .chart { break-inside: avoid; } }
`;
