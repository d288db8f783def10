/** What a server counts, as Prometheus reads it. */
import type { SchedulerState } from "../llama/serving/requests.js";

export interface Metrics {
  /** A request has been answered. */
  count(route: string, status: number, seconds: number): void;
  /** Readers that went away before the end of their answer. */
  countGone(): void;
  /** All, with the state of the scheduler, where there is one. */
  print(state: SchedulerState | null): string;
}

/** Begins to count. */
export function createMetrics(): Metrics {
  const requests = new Map<string, number>();
  const durations = new Map<string, { seconds: number; count: number }>();
  let gone = 0;
  const metric = (
    name: string,
    kind: "counter" | "gauge" | "summary",
    help: string,
    lines: readonly string[],
  ): string => [`# HELP espalier_${name} ${help}`, `# TYPE espalier_${name} ${kind}`, ...lines, ""].join("\n");
  const value = (name: string, kind: "counter" | "gauge", help: string, found: number): string =>
    metric(name, kind, help, [`espalier_${name} ${found}`]);
  return {
    count(route, status, seconds) {
      const key = `route="${route}",status="${status}"`;
      requests.set(key, (requests.get(key) ?? 0) + 1);
      const own = durations.get(route) ?? { seconds: 0, count: 0 };
      durations.set(route, { seconds: own.seconds + seconds, count: own.count + 1 });
    },
    countGone: () => void gone++,
    print(state) {
      return [
        metric(
          "requests_total",
          "counter",
          "Requests answered.",
          [...requests].map(([labels, count]) => `espalier_requests_total{${labels}} ${count}`),
        ),
        metric(
          "request_seconds",
          "summary",
          "Time from a request to the end of its answer.",
          [...durations].flatMap(([route, { seconds, count }]) => [
            `espalier_request_seconds_sum{route="${route}"} ${seconds}`,
            `espalier_request_seconds_count{route="${route}"} ${count}`,
          ]),
        ),
        value("clients_gone_total", "counter", "Readers that left before the end, or were too slow.", gone),
        ...(state === null ? [] : schedulerLines(state)),
      ].join("");
    },
  };

  function schedulerLines(state: SchedulerState): readonly string[] {
    const { running, waiting, sequences, queue, pages } = state;
    return [
      value("sequences_running", "gauge", "Texts that are given tokens.", running),
      value("sequences_waiting", "gauge", "Texts that wait for a place.", waiting),
      value("sequences_limit", "gauge", "Texts that are given tokens at once, at most.", sequences),
      value("queue_limit", "gauge", "Texts that may wait.", queue),
      value("cache_pages", "gauge", "Pages of keys and values.", pages.total),
      value("cache_pages_used", "gauge", "Pages of texts under way.", pages.used),
      value("cache_pages_kept", "gauge", "Pages kept for texts that begin alike.", pages.kept),
      value("cache_page_tokens", "gauge", "Tokens of a page.", pages.tokens),
      value("prompt_tokens_total", "counter", "Tokens of prompts.", state.promptTokens),
      value("prompt_tokens_computed_total", "counter", "Those that were not shared.", state.computedPromptTokens),
      value("new_tokens_total", "counter", "Tokens given.", state.newTokens),
      value("sequences_ended_total", "counter", "Texts that have ended.", state.ended),
    ];
  }
}
