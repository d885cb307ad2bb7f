// Debian's Chromium, driven by Playwright; every page fails its test if it asks for anything from elsewhere, breaks its security
// policy, or leaves an error in the console.
import {existsSync} from 'node:fs';
import {chromium} from 'playwright-core';

export const kChromium = [process.env.CARAT_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
  .find((path) => path && existsSync(path));
const kFlags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

export class Browser {
  async start() {
    this.browser = await chromium.launch({executablePath: kChromium, args: kFlags});
    return this;
  }

  stop() {
    return this.browser.close();
  }

  // A page of its own browser profile. expected: patterns of console errors that this test is about (a 401, say).
  async open(url, {expected = [], ...options} = {}) {
    const context = await this.browser.newContext({viewport: {width: 1200, height: 800}, ...options});
    const page = await context.newPage();
    page.setDefaultTimeout(8000);
    page.faults = [];
    page.on('request', (request) => {
      const asked = request.url();
      if (!asked.startsWith(url) && !/^(data|blob):/.test(asked)) page.faults.push(`asked for ${asked}`);
    });
    page.on('pageerror', (error) => page.faults.push(`threw ${error}`));
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type()) && !expected.some((pattern) => pattern.test(message.text()))) page.faults.push(message.text());
    });
    await page.goto(url);
    return page;
  }
}
