// What the audit log says, as sentences: "made the key training". What is not known here is said as it stands.

const acts: Record<string, string> = {
  'account.changeEmail': 'changed the address of',
  'account.changePassword': 'changed the password of',
  'account.create': 'made the account',
  'account.delete': 'deleted the account',
  'account.disableTwoFactor': 'turned off the second factor of',
  'account.enableTwoFactor': 'turned on the second factor of',
  'account.grantAdmin': 'made an administrator of',
  'account.linkProvider': 'added a provider to',
  'account.renewRecoveryCodes': 'renewed the recovery codes of',
  'account.resetLink': 'made a link to a new password for',
  'account.resetPassword': 'set the forgotten password of',
  'account.restore': 'let in again',
  'account.revokeAdmin': 'ended the administration of',
  'account.setPassword': 'set a password for',
  'account.suspend': 'suspended',
  'account.unlinkProvider': 'took a provider from',
  'account.update': 'changed the account',
  'account.verifyEmail': 'confirmed the address of',
  'invitation.accept': 'joined by an invitation',
  'invitation.create': 'invited',
  'invitation.revoke': 'took back the invitation of',
  'key.create': 'made the key',
  'key.revoke': 'revoked the key',
  'key.update': 'changed the key',
  'member.remove': 'removed the member',
  'member.update': 'changed the role of',
  'points.delete': 'deleted points of',
  'project.create': 'made the project',
  'project.delete': 'deleted the project',
  'project.purge': 'let go for good of the project',
  'project.restore': 'restored the project',
  'project.update': 'changed the project',
  'serviceAccount.create': 'made the service account',
  'serviceAccount.delete': 'deleted the service account',
  'session.create': 'signed in',
  'session.refuse': 'was refused at signing in',
  'session.revoke': 'ended a session of',
  'session.delete': 'signed out',
  'workspace.create': 'made the workspace',
  'workspace.delete': 'put the workspace into the bin:',
  'workspace.leave': 'left',
  'workspace.purge': 'let go for good of the workspace',
  'workspace.restore': 'restored the workspace',
  'workspace.transfer': 'handed the workspace over to',
  'workspace.update': 'changed the workspace',
};

export const actInWords = (action: string): string => (Object.hasOwn(acts, action) && acts[action]) || action;

const credentials: Record<string, string> = {
  session: 'signed in',
  key: 'by a key',
  machine: 'at the server’s machine',
  server: 'by the server itself',
  link: 'by a link in a mail',
  attempt: 'at an attempt to sign in',
  provider: 'by a provider',
  registration: 'while registering',
};

export const credentialInWords = (kind: string): string =>
  (Object.hasOwn(credentials, kind) && credentials[kind]) || kind;

/** The details of an act on one line, without what is empty. */
export function detailsInWords(details: unknown): string {
  if (typeof details !== 'object' || details === null) return '';
  return Object.entries(details)
    .filter(([, value]) => value !== null && value !== '' && !(Array.isArray(value) && value.length === 0))
    .map(([key, value]) => `${key} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');
}
