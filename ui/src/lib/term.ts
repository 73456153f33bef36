/** xterm, put together once. Loaded only when somebody opens a shell. */
import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";

export interface Screen {
  term: Terminal;
  fit(): void;
  destroy(): void;
}

export function create(node: HTMLElement, size: (cols: number, rows: number) => void, typed: (text: string) => void): Screen {
  const term = new Terminal({
    fontFamily: '"SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
    fontSize: 13,
    cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
    scrollback: 5000,
    screenReaderMode: false,
    theme: { background: "#14161b", foreground: "#dcdfe6", cursor: "#9aa7ff", selectionBackground: "#3d4670" },
  });
  const fitter = new FitAddon();
  term.loadAddon(fitter);
  term.open(node);
  fitter.fit();
  term.onResize(({ cols, rows }) => size(cols, rows));
  term.onData(typed);
  const watch = new ResizeObserver(() => fitter.fit());
  watch.observe(node);
  return {
    term,
    fit: () => fitter.fit(),
    destroy() {
      watch.disconnect();
      term.dispose();
    },
  };
}
