
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


/*
 * Every row of the table of causes and remedies: none is hidden by another
 * one, and a refusal of the right shape leads there.  The table is a copy of
 * the one in the file that is included.
 */


#include "walk.h"

#define ngx_gcs_explain  test_explain
#include "ngx_gcs_explain.c"


static void test_rows(void);
static void test_grants(void);
static void test_iam_answers(void);
static ngx_gcs_grant_t *test_reach(ngx_pool_t *pool,
    ngx_gcs_credentials_t *cred, ngx_uint_t where);
static char *test_body(ngx_gcs_explain_t *row, ngx_uint_t where);
static ngx_uint_t test_status(ngx_gcs_explain_t *row);


static ngx_gcs_aws_environment_t   aws;
static ngx_gcs_credentials_t       key, impersonated, federated, url, amazon;
static ngx_gcs_credentials_t       web, agent, metadata;


int
main(void)
{
    ngx_str_t    err;
    ngx_pool_t  *keep;

    files_make_key();

    keep = test_pool();

    key = walk_file(keep, TEST_SERVICE_ACCOUNT);
    impersonated = walk_file(keep, TEST_IMPERSONATED_KEY);
    federated = walk_file(keep, TEST_EXTERNAL_FILE);
    url = walk_file(keep, TEST_EXTERNAL_URL);
    amazon = walk_file(keep, TEST_EXTERNAL_AWS);

    ngx_str_null(&amazon.subject.session_url);
    amazon.aws = &aws;

    web = amazon;
    web.aws = ngx_pcalloc(keep, sizeof(ngx_gcs_aws_environment_t));
    ngx_str_set(&web.aws->region, "us-east-2");
    ngx_str_set(&web.aws->role_arn, "arn:aws:iam::123:role/r");
    ngx_str_set(&web.aws->web_identity_token_file, "/run/web");

    agent = amazon;
    agent.aws = ngx_pcalloc(keep, sizeof(ngx_gcs_aws_environment_t));
    ngx_str_set(&agent.aws->region, "us-east-2");
    ngx_str_set(&agent.aws->container_url, "http://169.254.170.23/v1");

    metadata.type = NGX_GCS_METADATA_SERVER;
    (void) ngx_gcs_credentials_complete(keep, &metadata, &err);

    test_rows();
    test_grants();
    test_iam_answers();

    ngx_destroy_pool(keep);

    test_check(files_freed == 0, "secrets in a JSON string");

    return test_failures;
}


/* the very row, for what it says and for no more than that */

static void
test_rows(void)
{
    char               *text, *upper;
    size_t              i;
    ngx_uint_t          where;
    ngx_gcs_explain_t  *row;

    for (row = ngx_gcs_explain_rows; row->where; row++) {

        test_check(row->remedy && strlen(row->remedy) > 10, row->remedy);
        test_check(strlen(row->remedy) <= 200, row->remedy);
        test_check(row->status || row->error || row->text
                   || row->where == NGX_GCS_EXPLAIN_SUBJECT
                   || row->where == NGX_GCS_EXPLAIN_AGENT, row->remedy);

        /* a word is one of "$gcs_error"; Storage has its own */

        where = NGX_GCS_EXPLAIN_STORAGE|NGX_GCS_EXPLAIN_SIGNED;

        test_check((row->word == NULL) == ((row->where & where) != 0),
                   row->remedy);
        test_check((row->where & where) == 0 || (row->where & ~where) == 0,
                   row->remedy);

        for (i = 0; row->word && row->word[i]; i++) {
            test_check((row->word[i] >= 'a' && row->word[i] <= 'z')
                       || row->word[i] == '_', row->word);
        }

        text = NULL;
        upper = NULL;

        if (row->text) {
            test_check(asprintf(&text, "some %s words", row->text) > 0, NULL);
            upper = strdup(text);

            for (i = 0; upper[i]; i++) {
                upper[i] = toupper(upper[i]);
            }
        }

        for (where = 1; where <= 0x200; where <<= 1) {

            if (!(row->where & where)) {
                continue;
            }

            test_check(test_explain(where, test_status(row), row->error, text)
                       == row, row->remedy);
            test_check(test_explain(where, test_status(row), row->error,
                                    upper) == row, row->remedy);

            /* and for nothing less */

            if (row->status) {
                test_check(test_explain(where, 299, row->error, text) != row,
                           row->remedy);
            }

            if (row->error) {
                test_check(test_explain(where, test_status(row), NULL, text)
                           != row, row->remedy);
                test_check(test_explain(where, test_status(row), "other",
                                        text) != row, row->remedy);
            }

            if (row->text) {
                test_check(test_explain(where, test_status(row), row->error,
                                        NULL) != row, row->remedy);
                test_check(test_explain(where, test_status(row), row->error,
                                        "other") != row, row->remedy);
            }
        }

        free(text);
        free(upper);
    }

    test_check(test_explain(NGX_GCS_EXPLAIN_OAUTH, 400, NULL, NULL) == NULL,
               NULL);
    test_check(test_explain(NGX_GCS_EXPLAIN_OAUTH, 400, "", "") == NULL, NULL);
    test_check(test_explain(0, 400, "invalid_grant", "account not found")
               == NULL, NULL);
}


/* the same by the answers of the services */

static void
test_grants(void)
{
    char               *body, want[300];
    ngx_int_t           rc;
    ngx_uint_t          where, status;
    ngx_pool_t         *pool;
    ngx_gcs_grant_t    *grant;
    ngx_gcs_explain_t  *row;

    for (row = ngx_gcs_explain_rows; row->where; row++) {

        for (where = 1; where <= 0x200; where <<= 1) {

            if (!(row->where & where) || where == NGX_GCS_EXPLAIN_STORAGE
                || where == NGX_GCS_EXPLAIN_SIGNED)
            {
                continue;
            }

            pool = test_pool();

            grant = test_reach(pool, where == NGX_GCS_EXPLAIN_OAUTH ? &key
                               : where == NGX_GCS_EXPLAIN_STS ? &federated
                               : where == NGX_GCS_EXPLAIN_IAM ? &impersonated
                               : where == NGX_GCS_EXPLAIN_METADATA ? &metadata
                               : where == NGX_GCS_EXPLAIN_SUBJECT ? &url
                               : where == NGX_GCS_EXPLAIN_AWS ? &amazon
                               : where == NGX_GCS_EXPLAIN_AGENT ? &agent
                               : &web, where);

            status = test_status(row);

            if (status == NGX_GCS_EXPLAIN_UNANSWERED) {
                status = 0;
            }

            body = test_body(row, where);
            rc = walk_answer(grant, status, body, strlen(body), 0);
            free(body);

            test_check(rc == (status == 0 || status == 429 ? NGX_BUSY
                                                           : NGX_DECLINED),
                       row->remedy);
            test_check(grant->word && strcmp(grant->word, row->word) == 0,
                       row->remedy);

            /* of AWS's STS the text itself has the remedy */

            snprintf(want, sizeof(want), "; %s", row->remedy);

            test_check(where == NGX_GCS_EXPLAIN_ASSUME
                       || test_contains(&grant->error, want), row->remedy);

            test_check(grant->error.len <= NGX_GCS_GRANT_ERROR_MAX,
                       row->remedy);
            test_check(grant->token.len == 0 && grant->lifetime == 0,
                       row->remedy);

            ngx_destroy_pool(pool);
        }
    }
}


/* a grant whose next answer comes from there */

static ngx_gcs_grant_t *
test_reach(ngx_pool_t *pool, ngx_gcs_credentials_t *cred, ngx_uint_t where)
{
    ngx_uint_t        i;
    const char       *answer;
    ngx_gcs_grant_t  *grant;

    grant = ngx_gcs_grant_create(pool, cred);

    ngx_memzero(walk_requests, sizeof(walk_requests));

    answer = where == NGX_GCS_EXPLAIN_STS ? "{\"id_token\":\"hidden\"}"
             : where == NGX_GCS_EXPLAIN_IAM ? WALK_TOKEN("hidden")
             : where == NGX_GCS_EXPLAIN_AWS ? "us-east-2a"
             : where == NGX_GCS_EXPLAIN_ASSUME ? "hidden"
             : NULL;

    for (i = 0; i < 2; i++) {
        test_check(ngx_gcs_grant_request(grant, WALK_NOW, &walk_requests[i])
                   == NGX_OK, NULL);

        if (answer == NULL) {
            break;
        }

        if (i == 0) {
            test_check(walk_answer(grant, 200, answer, strlen(answer), 0)
                       == NGX_AGAIN, answer);
        }
    }

    return grant;
}


/* in the shape of the service, to be freed */

static char *
test_body(ngx_gcs_explain_t *row, ngx_uint_t where)
{
    char        *body;
    json_t      *json;
    const char  *error, *text;

    error = row->error ? row->error : "other";
    text = row->text ? row->text : "Nobody knows";

    if (row->status == NGX_GCS_EXPLAIN_UNANSWERED) {
        return strdup("timed out");
    }

    if (where == NGX_GCS_EXPLAIN_ASSUME) {
        return strdup("<ErrorResponse><Error><Code>AccessDenied</Code>"
                      "</Error></ErrorResponse>");
    }

    if (where == NGX_GCS_EXPLAIN_AWS || where == NGX_GCS_EXPLAIN_AGENT
        || where == NGX_GCS_EXPLAIN_METADATA)
    {
        return strdup("<html>Not Found</html>");
    }

    if (where == NGX_GCS_EXPLAIN_IAM) {

        /* an error of theirs has its reason in the details */

        json = json_pack("{s:{s:i, s:s, s:s, s:[{s:s}, {s:s, s:s}]}}",
                         "error", "code", 403, "message", text,
                         "status", "PERMISSION_DENIED", "details",
                         "@type", "type.googleapis.com/google.rpc.Help",
                         "@type", "type.googleapis.com/google.rpc.ErrorInfo",
                         "reason", error);

    } else {
        json = json_pack("{s:s, s:s}", "error", error,
                         "error_description", text);
    }

    body = json_dumps(json, 0);
    json_decref(json);

    return body;
}


static ngx_uint_t
test_status(ngx_gcs_explain_t *row)
{
    return row->status ? row->status
           : row->where == NGX_GCS_EXPLAIN_IAM ? 403 : 400;
}


/* 200 of IAM without a token that can be used */

static void
test_iam_answers(void)
{
    ngx_int_t         rc;
    ngx_uint_t        i;
    ngx_pool_t       *pool;
    ngx_gcs_grant_t  *grant;

    static struct {
        ngx_uint_t   status;
        const char  *body;
        ngx_int_t    rc;
        const char  *error;
        const char  *word;
    } answers[] = {
        { 200, "", NGX_DECLINED, "without a valid access token", NULL },
        { 200, "[]", NGX_DECLINED, "without a valid access token", NULL },
        { 200, "{}", NGX_DECLINED, "without a valid access token", NULL },
        { 200, "{\"accessToken\":7}", NGX_DECLINED, "without a valid", NULL },
        { 200, "{\"accessToken\":\"\"}", NGX_DECLINED, "without a valid",
          NULL },
        { 200, "{\"access_token\":\"hidden\"}", NGX_DECLINED,
          "without a valid", NULL },
        { 200, "{\"accessToken\":\"hidden\\r\\nX: y\"}", NGX_DECLINED,
          "without a valid access token", NULL },
        { 200, "{\"accessToken\":\"<hidden\"", NGX_DECLINED,
          "without a valid access token", NULL },
        { 400, "{\"error\":{\"code\":400,\"message\":\"The max lifetime is "
          "1h.\",\"status\":\"INVALID_ARGUMENT\"}}", NGX_DECLINED,
          "IAM Credentials API answered 400 \"INVALID_ARGUMENT\": \"The max "
          "lifetime is 1h.\"; more than 1h needs", "lifetime_refused" },
        { 403, "{\"error\":{\"code\":403,\"message\":\"Permission 'iam.service"
          "Accounts.getAccessToken' denied on resource (or it may not exist)."
          "\",\"status\":\"PERMISSION_DENIED\",\"details\":[{\"reason\":"
          "\"IAM_PERMISSION_DENIED\"}]}}", NGX_DECLINED,
          "roles/iam.serviceAccountTokenCreator", "impersonation_denied" },
        { 403, "<html>hidden</html>", NGX_DECLINED, "answered 403 without a "
          "reason; grant the caller", "impersonation_denied" },
        { 404, "{\"error\":{\"details\":7}}", NGX_DECLINED,
          "answered 404 without a reason", "account_not_found" },
        { 401, "{\"error\":{\"status\":\"UNAUTHENTICATED\",\"details\":"
          "[7,{},{\"reason\":7}]}}", NGX_DECLINED, "\"UNAUTHENTICATED\"",
          NULL },
        { 429, "", NGX_BUSY, "too many requests", "quota_exceeded" },
        { 500, "", NGX_BUSY, "IAM Credentials API answered 500", NULL },
        { 0, "timed out", NGX_BUSY, "IAM Credentials API: timed out", NULL }
    };

    for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        pool = test_pool();
        grant = test_reach(pool, &impersonated, NGX_GCS_EXPLAIN_IAM);

        rc = walk_answer(grant, answers[i].status, answers[i].body,
                         strlen(answers[i].body), 0);

        test_check(rc == answers[i].rc, answers[i].body);
        test_check(test_contains(&grant->error, answers[i].error),
                   answers[i].body);
        test_check(!test_contains(&grant->error, "hidden"), answers[i].body);
        test_check(grant->token.len == 0 && grant->lifetime == 0,
                   answers[i].body);
        test_check((grant->word == NULL) == (answers[i].word == NULL)
                   && (grant->word == NULL
                       || strcmp(grant->word, answers[i].word) == 0),
                   answers[i].body);

        ngx_destroy_pool(pool);
    }
}
