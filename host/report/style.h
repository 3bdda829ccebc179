#pragma once

namespace microtome::host::report {

/// The page's style: light and dark as the reader's system says, and narrow screens.
inline constexpr const char* style = R"css(
:root{color-scheme:light dark;--text:#1c2126;--soft:#5b6670;--back:#fbfbfa;--card:#fff;--line:#dfe3e6;--accent:#2768a4;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--text:#e4e7ea;--soft:#9aa5af;--back:#15181b;--card:#1d2125;--line:#343a40;--accent:#7db7ee;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1080px;padding:28px 20px 60px;background:var(--back);color:var(--text);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 6px}
h2{font-size:1.2rem;margin:34px 0 10px}
h3{font-size:1.05rem;margin:0}
h4{font-size:.95rem;margin:0 0 8px}
p{margin:6px 0}
.question{font-size:1.08rem;max-width:46em}
.note,.type,figcaption{color:var(--soft);font-size:.86rem}
.failure{color:var(--bad);font-weight:600;white-space:pre-wrap}
.stage{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:16px 18px;margin:14px 0}
.views{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:0 26px}
.view{margin:16px 0 4px;min-width:0}
.wide{grid-column:1/-1}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.86rem}
th,td{padding:3px 10px 3px 0;text-align:left;vertical-align:top}
thead th{border-bottom:1px solid var(--line);color:var(--soft);font-weight:600}
td.number{font-variant-numeric:tabular-nums;text-align:right}
.grid td{padding:3px;text-align:center;font-size:.78rem;color:var(--soft)}
.grid th,.matrix th{font-weight:500;color:var(--soft);white-space:nowrap;font-size:.8rem}
.matrix td{white-space:nowrap;text-align:right;padding:3px 7px;font-variant-numeric:tabular-nums;background:color-mix(in srgb,var(--cell,var(--accent)) calc(var(--share)*60%),transparent)}
.matrix.upright tr:first-child th{writing-mode:vertical-rl;transform:rotate(180deg);padding:3px}
.matrix.signed td{--cell:#c7172a}.matrix.signed td.below{--cell:#1452b3}
img{image-rendering:pixelated;border-radius:2px;vertical-align:top}
.maps{display:flex;flex-wrap:wrap;gap:14px}
figure{margin:0}figure>img+img{margin-left:3px}
.bar{display:flex;white-space:nowrap;gap:6px;align-items:center;font-size:.75rem;color:var(--soft);margin-top:3px}
.bar img{height:8px}
.chart{width:100%;max-width:560px;height:auto;display:block}
.chart text{font:12px system-ui,sans-serif;fill:var(--soft)}
.chart .grid{stroke:var(--line)}
.chart .chance{stroke:var(--soft);stroke-dasharray:4 3;stroke-width:1.6}
.legend{display:flex;flex-wrap:wrap;gap:4px 14px;font-size:.82rem}
.legend i{display:inline-block;width:10px;height:10px;border-radius:5px;margin-right:5px}
.legend i.dashed{width:14px;height:4px;border-radius:0;vertical-align:middle;mask:repeating-linear-gradient(90deg,#000 0 5px,transparent 5px 8px);-webkit-mask:repeating-linear-gradient(90deg,#000 0 5px,transparent 5px 8px)}
details{margin:8px 0}summary{cursor:pointer;color:var(--accent)}
pre{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:6px;padding:12px;font-size:.82rem}
)css";

}  // namespace microtome::host::report
