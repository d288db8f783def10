/** The style of pages that are read: light and dark, from 360 pixels on, without a font that is fetched. */
export const pageStyle = `:root {
  color-scheme: light dark;
  --ground: light-dark(#fbfaf7, #16181a);
  --raised: light-dark(#ffffff, #1d2023);
  --ink: light-dark(#23272b, #dfe2e4);
  --faint: light-dark(#5c656c, #9aa3aa);
  --line: light-dark(#dcd9d2, #33383d);
  --accent: light-dark(#2f6b3c, #8ec99a);
  --literal: light-dark(#8a4b08, #e0b07c);
  --type: light-dark(#1f5f87, #8fc4e8);
  --mono: ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace;
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.6 system-ui, sans-serif; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: 0.18em; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: 0.5rem; padding: 0.25rem 0.5rem; background: var(--raised); }
header nav { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; max-width: 72rem; margin: 0 auto; padding: 0.9rem 1rem; border-bottom: 1px solid var(--line); }
header nav a { color: var(--ink); text-decoration: none; }
header nav a:first-child { color: var(--accent); font-weight: 700; }
header nav a:hover { text-decoration: underline; }
nav a[aria-current] { color: var(--accent); font-weight: 600; }
.page { max-width: 72rem; margin: 0 auto; padding: 0 1rem 4rem; }
main { max-width: 50rem; min-width: 0; }
.beside ul { display: flex; flex-wrap: wrap; gap: 0.1rem 1rem; margin: 0.75rem 0 0; padding: 0 0 0.75rem; border-bottom: 1px solid var(--line); list-style: none; font-size: 0.9rem; }
.beside a { color: var(--faint); text-decoration: none; }
.beside a:hover { text-decoration: underline; }
@media (min-width: 64rem) {
  .with-beside { display: grid; grid-template-columns: 13rem minmax(0, 50rem); gap: 0 3rem; }
  .beside ul { position: sticky; top: 1.5rem; flex-direction: column; flex-wrap: nowrap; max-height: calc(100vh - 3rem); overflow-y: auto; margin-top: 2rem; border: 0; }
}
h1, h2, h3, h4 { line-height: 1.25; overflow-wrap: anywhere; }
h1 { margin: 1.75rem 0 1rem; font-size: 1.75rem; }
h2 { margin: 2.5rem 0 0.75rem; font-size: 1.25rem; }
h3, h4 { margin: 1.75rem 0 0.5rem; font-size: 1.05rem; }
h2 a, h3 a { color: inherit; text-decoration: none; }
h2 a:hover { text-decoration: underline; }
p, ul, ol, dl { margin: 0.75rem 0; }
li { margin: 0.25rem 0; }
p, li, td { overflow-wrap: break-word; }
code { padding: 0.05em 0.25em; border-radius: 3px; background: color-mix(in srgb, var(--ink) 7%, transparent); font: 0.9em var(--mono); overflow-wrap: anywhere; }
a code { background: none; padding: 0; }
pre { margin: 0.9rem 0; padding: 0.75rem 0.9rem; overflow-x: auto; border: 1px solid var(--line); border-radius: 4px; background: var(--raised); font: 13px/1.5 var(--mono); }
pre code { padding: 0; background: none; font: inherit; overflow-wrap: normal; }
pre .comment { color: var(--faint); }
pre .word { color: var(--accent); font-weight: 600; }
pre .type, pre .function { color: var(--type); }
pre .literal { color: var(--literal); }
pre.console { color: var(--faint); }
pre.console b { color: var(--ink); font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 1rem 0.3rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td code { overflow-wrap: normal; }
blockquote { margin: 1rem 0; padding-left: 1rem; border-left: 3px solid var(--line); color: var(--faint); }
img { max-width: 100%; }
.contents { display: grid; grid-template-columns: minmax(0, max-content) minmax(0, 1fr); gap: 0.2rem 1rem; font-size: 0.92rem; }
.contents dt, .contents dd { margin: 0; }
.names { display: flex; flex-wrap: wrap; gap: 0.2rem 0.75rem; }
.entry { border-top: 1px solid var(--line); }
.entry h2 { margin-top: 1.5rem; font-family: var(--mono); font-size: 1.1rem; }
.equation { margin: 1rem 0; }
.equation .line { padding: 0.2rem 0; margin-left: calc(var(--depth, 0) * 1.75rem); overflow-x: auto; overflow-y: hidden; }
.equation math { font-size: 1.05rem; }
.equation mi { font-family: Georgia, "Times New Roman", "DejaVu Serif", serif; font-style: italic; }
.equation .cases mtd { text-align: left; }
summary { color: var(--faint); font-size: 0.9rem; cursor: pointer; }
.entry details { margin: 0.9rem 0 1.25rem; }
@media (max-width: 40rem) {
  .contents { grid-template-columns: minmax(0, 1fr); }
  .contents dd { margin-bottom: 0.4rem; }
}
`;
