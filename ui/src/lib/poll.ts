/** Ask again and again while the page is shown and the tab is seen; never two questions at once. */
export function poll(run: (signal: AbortSignal) => Promise<unknown>, every: number): () => void {
  const control = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  async function round(): Promise<void> {
    if (control.signal.aborted) return;
    if (!document.hidden) await run(control.signal).catch(() => undefined);
    if (!control.signal.aborted) timer = setTimeout(() => void round(), every);
  }
  void round();
  return () => {
    control.abort();
    clearTimeout(timer);
  };
}
