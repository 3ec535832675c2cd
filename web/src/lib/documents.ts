// Every document the dashboard sends, in one place: codegen types them from schema.graphql.
import { graphql } from './generated/gql.ts';

export const viewerDocument = graphql(`
  query Viewer {
    viewer {
      id
      name
      email
      isAdmin
      workspaces {
        id
        slug
        name
        projects(first: 100) {
          ...ProjectPage
        }
      }
    }
  }

  fragment ProjectPage on ProjectConnection {
    totalCount
    pageInfo {
      hasNextPage
      endCursor
    }
    edges {
      node {
        id
        name
        runs(first: 1, orderBy: [{ key: "createdAt", direction: DESC }]) {
          totalCount
          edges {
            node {
              id
              createdAt
            }
          }
        }
      }
    }
  }
`);

export const projectsDocument = graphql(`
  query Projects($slug: String!, $after: String!) {
    workspace(slug: $slug) {
      projects(first: 100, after: $after) {
        ...ProjectPage
      }
    }
  }
`);

export const runsDocument = graphql(`
  query Runs($projectId: ID!, $after: String) {
    project(id: $projectId) {
      id
      name
      runs(first: 100, after: $after, orderBy: [{ key: "createdAt", direction: DESC }]) {
        totalCount
        pageInfo {
          hasNextPage
          endCursor
        }
        edges {
          node {
            ...RunRow
          }
        }
      }
    }
  }

  fragment RunRow on Run {
    id
    name
    status
    createdAt
    startedAt
    endedAt
    heartbeatAt
    cursor
    tags
  }
`);

export const runEventsDocument = graphql(`
  subscription RunEvents($projectId: ID!) {
    runs(projectId: $projectId) {
      type
      runId
      run {
        ...RunRow
      }
    }
  }
`);

export const runDocument = graphql(`
  query Run($id: ID!) {
    run(id: $id) {
      ...RunRow
      key
      config
      summary
      notes
      group
      project {
        id
        name
        workspace {
          name
        }
      }
      attempts {
        number
        status
        startedAt
        endedAt
      }
    }
  }
`);

export const runCursorDocument = graphql(`
  query RunCursor($id: ID!) {
    run(id: $id) {
      cursor
    }
  }
`);

export const runMetricsDocument = graphql(`
  query RunMetrics($id: ID!, $after: String) {
    run(id: $id) {
      metrics(type: SCALAR, first: 100, after: $after) {
        pageInfo {
          hasNextPage
          endCursor
        }
        edges {
          node {
            name
            tag
          }
        }
      }
    }
  }
`);

export const chartsDocument = graphql(`
  query Charts($input: ChartsInput!) {
    charts(input: $input) {
      name
      tag
      repeats
      exact
      steps
      times
      last
      min
      max
      mean
      nonFiniteCounts
      cursor
    }
  }
`);

export const metricsDocument = graphql(`
  subscription Metrics($input: MetricsInput!) {
    metrics(input: $input) {
      type: __typename
      ... on MetricsAppended {
        runId
        cursor
        metrics {
          name
          tag
          attempt
          repeats
          steps
          times
          values
        }
      }
      ... on MetricsReset {
        runId
        cursor
        reason
      }
    }
  }
`);

export const acceptInvitationDocument = graphql(`
  mutation AcceptInvitation($token: String!) {
    acceptInvitation(input: { token: $token }) {
      workspace {
        id
      }
    }
  }
`);

export const signInDocument = graphql(`
  query SignIn {
    server {
      signIn {
        password
        registration
        providers {
          id
          name
        }
      }
    }
  }
`);
