"""The page behind /shardz for people: one file, no outside resources, reloads itself every two seconds.

Rates are worked out in the page from two loads of the JSON: the server keeps no state for its viewers.
"""

from shardbroker.acceptor.monitor.http_server import Response

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #4a90d9; --warm: #e0a030; --hot: #d04545 }
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; max-width: 90rem }
h1 { font-size: 1.3rem; margin: 0 0 .2rem } h2 { font-size: 1rem; margin: 1.4rem 0 .3rem }
p { margin: .1rem 0; opacity: .75 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .2rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap }
th { font-weight: 600; opacity: .75 } th:first-child, td:first-child { text-align: left }
.bar { display: inline-block; width: 5rem; height: .6rem; margin-left: .4rem; background: var(--line);
       border-radius: .3rem; overflow: hidden; vertical-align: middle }
.bar i { display: block; height: 100%; background: var(--bar) }
.bar i.warm { background: var(--warm) } .bar i.hot { background: var(--hot) }
.down { color: var(--hot); font-weight: 600 } .scroll { overflow-x: auto }
"""

_SCRIPT = """
const size = n => { const u = ["B", "KiB", "MiB", "GiB", "TiB"]; let i = 0;
  while (n >= 1024 && i < 4) { n /= 1024; i++ } return n.toFixed(i && n < 100 ? 1 : 0) + " " + u[i] };
const count = n => n.toLocaleString("en-US", {maximumFractionDigits: 0});
const bar = (percent, text, calm) => { const p = Math.max(0, Math.min(100, percent));
  const warmth = calm || p <= 60 ? "" : p > 90 ? "hot" : "warm";
  return `${text}<span class=bar><i class="${warmth}" style="width:${p}%"></i></span>` };
const safe = s => String(s).replace(/[&<>"]/g, c => `&#${c.charCodeAt(0)};`);
const table = (id, head, rows) => document.getElementById(id).innerHTML =
  "<tr>" + head.map(h => `<th>${h}</th>`).join("") + "</tr>" +
  rows.map(r => "<tr>" + r.map(c => `<td>${c}</td>`).join("") + "</tr>").join("");
let last = null, lastAt = 0;
function rate(now, name, shard, seconds, unit = count) {
  const before = last && last.shards[shard];
  if (!before || before.generation !== now.generation || seconds <= 0) return "";
  return unit((now.statistics[name] - before.statistics[name]) / seconds);
}
function show(z) {
  const at = performance.now(), seconds = (at - lastAt) / 1000;
  document.getElementById("head").textContent = `${z.server_name} · up ${z.uptime} · ` +
    `${z.workers} workers · ${z.restarts} restarts · CPU ${z.cpu_percent} % · ` +
    `memory ${size(z.pss || z.rss)} · ` +
    `${count(z.totals.connections)} connections · ${count(z.totals.subscriptions)} subscriptions` +
    (z.lame_duck ? " · LAME DUCK" : "");
  const j = z.jetstream, line = document.getElementById("jetstream");
  line.hidden = !j;
  if (j) line.innerHTML = `JetStream · ${count(j.streams)} streams` +
    (j.damaged ? ` · <span class=down>${count(j.damaged)} damaged</span>` : "") +
    ` · ${size(j.storage)} on disk · ${size(j.memory)} in memory · ${count(j.api.total)} API requests, ` +
    `${count(j.api.errors)} errors · sync ${safe(j.sync.mode)}, ` +
    `a sync took ${count(j.sync.probe_us)} µs at the start` +
    (j.writer.restarts ? ` · ${count(j.writer.restarts)} restarts of the stream-writer` : "") +
    j.faults.map(f => ` · <span class=down>${safe(f)}</span>`).join("");
  const most = Math.max(1, ...z.shards.map(s => s.statistics.connections));
  table("shards", ["shard", "state", "generation", "pid", "CPU %", "memory", "connections", "subscriptions",
    "in msg/s", "out msg/s", "in/s", "out/s", "ring msg/s", "ring fill", "outboxes", "slots"],
    z.shards.map((s, i) => { const f = s.statistics; return [s.worker,
      s.state === "up" ? "up" : `<span class=down>${safe(s.state)}</span>`, s.generation, s.pid,
      bar(s.cpu_percent, s.cpu_percent.toFixed(1)), size(s.rss),
      bar(100 * f.connections / most, count(f.connections), true), count(f.subscriptions),
      rate(s, "in_msgs", i, seconds), rate(s, "out_msgs", i, seconds),
      rate(s, "in_bytes", i, seconds, size), rate(s, "out_bytes", i, seconds, size),
      rate(s, "ring_messages_out", i, seconds),
      bar(s.ring_fill_percent, s.ring_fill_percent + " %"), size(f.outbound_size), count(s.slots)] }));
  document.getElementById("lanes").parentElement.hidden = !j;
  if (j) table("lanes", ["shard", "streams", "API requests/s", "lane fill", "in the lane", "of it unwritten"],
    z.shards.map((s, i) => [s.worker, count(s.streams), rate(s, "api_requests", i, seconds),
      bar(s.lane_fill_percent, s.lane_fill_percent + " %"), size(s.lane_fill), size(s.lane_unwritten)]));
  table("processes", ["process", "pid", "CPU %", "CPU s", "RSS", "PSS", "threads", "descriptors",
    "switches (own)", "switches (forced)", ...(j ? ["syncs/s", "written/s"] : [])],
    z.processes.map(p => [safe(p.role), p.pid, bar(p.cpu_percent, p.cpu_percent.toFixed(1)), p.cpu_seconds,
      size(p.rss), size(p.pss), p.threads, p.fds,
      count(p.switches_voluntary), count(p.switches_involuntary),
      ...(j ? "syncs" in p ? [p.syncs_per_second, size(p.bytes_per_second)] : ["", ""] : [])]));
  table("figures", ["figure", "total", ...z.shards.map(s => "shard " + s.worker)],
    Object.keys(z.totals).map(n => [n, count(z.totals[n]), ...z.shards.map(s => count(s.statistics[n]))]));
  last = z; lastAt = at;
}
async function refresh() {
  try { show(await (await fetch("shardz?format=json")).json()) }
  catch (error) { document.getElementById("head").textContent = "no answer: " + error }
  setTimeout(refresh, 2000);
}
refresh();
"""

_PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>shards</title>
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><style>{_STYLE}</style></head>
<body><h1>shardbroker</h1><p id="head">loading</p><p id="jetstream" hidden></p>
<h2>Shards</h2><div class="scroll"><table id="shards"></table></div>
<div hidden><h2>Append lanes</h2><table id="lanes"></table></div>
<h2>Processes</h2><div class="scroll"><table id="processes"></table></div>
<h2>Figures</h2><div class="scroll"><table id="figures"></table></div>
<noscript>FALLBACK</noscript>
<script>{_SCRIPT}</script></body></html>
"""

_COLUMNS = ("worker", "state", "generation", "pid", "cpu_percent", "rss", "ring_fill_percent", "slots")


def shardz_html(page: dict) -> Response:
    """The page; without scripts a browser shows a plain table and reloads by itself."""
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{shard[name]}</td>" for name in _COLUMNS) + "</tr>" for shard in page["shards"]
    )
    plain = f'<meta http-equiv="refresh" content="2"><table><tr>{head}</tr>{rows}</table>'
    return Response(200, "text/html; charset=utf-8", _PAGE.replace("FALLBACK", plain).encode())
