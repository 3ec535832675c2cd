// Before the first paint, so that a chosen theme does not flash. The rest is in src/lib/theme.ts.
(() => {
  const theme = localStorage.getItem('runtide.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
})();
