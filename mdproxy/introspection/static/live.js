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
  let source = null;
  let waiting = null;
  let fetching = false;
  let again = false;
  let more = 0;

  const say = (text) => {
    if (status.textContent !== text) {
      status.textContent = text;
    }
  };

  const count = () =>
    more === 0 ? "Live: nothing new yet." : `Live: ${more} new since you began to look.`;

  const known = () =>
    new Set(Array.from(body.rows, (row) => row.dataset.number));

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
    const seen = known();
    const rows = Array.from(fresh.tBodies[0].rows).filter((row) => !seen.has(row.dataset.number));
    for (const row of rows) {
      row.classList.add("new");
    }
    body.prepend(...rows);
    more += rows.length;
    trim();
    if (rows.length > 0) {
      document.getElementById("nothing")?.remove();
    }
    say(count());
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
    } catch {
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
    button.textContent = "Stop the live tail";
  };

  const end = () => {
    source.close();
    source = null;
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
