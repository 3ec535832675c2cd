/** Whether the promises are tested in full (`npm run test:soak`), which takes minutes. */
export const SOAK = process.env.RUNTIDE_TEST_SOAK === '1';
