// A page of static files: everything is read in the browser.
export const ssr = false;
export const prerender = false;
