// The live tail of transactions: when the server says that there are new ones, the page
// is fetched again, and its new rows are put above the old ones.  So there is one place
// only where a transaction becomes HTML, and it is not here.
"use strict";

(() => {
  const table = document.querySelector("table[data-live]");
  if (!table || !window.EventSource) {
    return;
  }
  const body = table.tBodies[0];
  const status = document.getElementById("tail");
  // The page is fetched at most so often, in milliseconds, however much is going on; and
  // it grows no longer than so many rows.
  const pause = 1000;
  const most = 200;
  // How often a screen reader is told how many there are; and how often the page is
  // fetched while nothing happens, so that "3 s ago" does not stay there for hours.
  const breath = 10000;
  const idle = 60000;
  let source = null;
  let waiting = null;
  let ageing = null;
  let fetching = false;
  let failed = false;
  let again = false;
  let more = 0;
  let telling = null;
  let told = -breath;

  const say = (text) => {
    clearTimeout(telling);
    telling = null;
    if (status.textContent !== text) {
      status.textContent = text;
    }
  };

  const count = () =>
    more === 0 ? "Live: nothing new yet." : `Live: ${more} new since you began to look.`;

  const tell = () => {
    told = performance.now();
    say(count());
  };

  const tellSoon = () => {
    telling = telling ?? setTimeout(tell, Math.max(0, told + breath - performance.now()));
  };

  const trim = () => {
    while (body.rows.length > most && !body.lastElementChild.contains(document.activeElement)) {
      body.lastElementChild.remove();
    }
  };

  const take = (page) => {
    const fresh = page.querySelector("table[data-live]");
    if (!fresh) {
      throw new Error("no table");
    }
    const seen = new Map(Array.from(body.rows, (row) => [row.dataset.number, row]));
    const rows = [];
    for (const row of Array.from(fresh.tBodies[0].rows)) {
      const old = seen.get(row.dataset.number);
      if (old) {
        old.cells[0].replaceWith(row.cells[0]);
      } else {
        row.classList.add("new");
        rows.push(row);
      }
    }
    if (rows.length === 0) {
      return;
    }
    body.prepend(...rows);
    more += rows.length;
    trim();
    document.getElementById("nothing")?.remove();
    tellSoon();
  };

  const look = async () => {
    waiting = null;
    if (fetching) {
      again = true;
      return;
    }
    fetching = true;
    again = false;
    try {
      const answer = await fetch(location.href);
      if (!answer.ok) {
        throw new Error(answer.status);
      }
      take(new DOMParser().parseFromString(await answer.text(), "text/html"));
      if (failed) {
        failed = false;
        say(count());
      }
    } catch {
      failed = true;
      say("mdproxy could not be asked; the next change is tried again.");
    }
    fetching = false;
    if (again) {
      soon();
    }
  };

  const soon = () => {
    waiting = waiting ?? setTimeout(look, more === 0 ? 0 : pause);
  };

  const button = document.createElement("button");
  button.type = "button";
  button.id = "live";

  const begin = () => {
    source = new EventSource(table.dataset.live);
    source.addEventListener("open", () => {
      say(count());
      soon();
    });
    source.addEventListener("transaction", soon);
    source.addEventListener("missed", soon);
    source.addEventListener("error", () => {
      say(
        source?.readyState === EventSource.CLOSED
          ? "Not live: mdproxy does not let more people look."
          : "Not live: mdproxy can’t be reached. Trying again.",
      );
    });
    ageing = setInterval(soon, idle);
    button.textContent = "Stop the live tail";
  };

  const end = () => {
    source.close();
    source = null;
    clearInterval(ageing);
    clearTimeout(waiting);
    waiting = null;
    say("Stopped.");
    button.textContent = "Go on live";
  };

  button.addEventListener("click", () => (source === null ? begin() : end()));
  status.after(" ", button);
  // Connections of a page that nobody sees are given back.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && source !== null) {
      end();
      button.dataset.hidden = "yes";
    } else if (!document.hidden && button.dataset.hidden === "yes") {
      delete button.dataset.hidden;
      begin();
    }
  });
  begin();
})();
