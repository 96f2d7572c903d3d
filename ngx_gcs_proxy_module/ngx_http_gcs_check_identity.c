
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include "ngx_http_gcs.h"


/* the first steps of "gcs_check": who asks, and with what token */


static ngx_str_t *ngx_http_gcs_check_email(ngx_http_gcs_check_run_t *run);
static ngx_int_t ngx_http_gcs_check_file(ngx_http_gcs_check_run_t *run);
static ngx_int_t ngx_http_gcs_check_member(ngx_pool_t *pool, char *prefix,
    ngx_str_t *name, char *suffix, ngx_str_t *member);
static ngx_int_t ngx_http_gcs_check_federation(ngx_http_gcs_check_run_t *run,
    ngx_str_t *member);
static void ngx_http_gcs_check_token_handler(ngx_gcs_token_waiter_t *waiter,
    ngx_int_t rc);
static ngx_int_t ngx_http_gcs_check_token_there(
    ngx_http_gcs_check_run_t *run);
static void ngx_http_gcs_check_token_host(ngx_http_gcs_check_run_t *run);


ngx_int_t
ngx_http_gcs_check_credential(ngx_http_gcs_check_run_t *run)
{
    ngx_gcs_check_t        *report;
    ngx_gcs_credentials_t  *cred;

    static char  *kinds[] = {
        "service account key",
        "user login",
        "workforce login",
        "workload identity federation",
        "metadata server",
        "HMAC key"
    };

    report = &run->report;
    cred = run->identity->source.cred;

    if (cred == NULL) {
        report->kind = "anonymous";

        ngx_gcs_check_say(report, NGX_GCS_CHECK_CREDENTIAL, NGX_GCS_CHECK_OK,
                          "there is none, only public objects can be read");

        ngx_str_set(&report->member, "allUsers");

        return NGX_OK;
    }

    report->kind = kinds[cred->type];

    ngx_http_gcs_check_members(run);

    if (cred->impersonations.nelts) {
        ngx_gcs_check_say(report, NGX_GCS_CHECK_CREDENTIAL, NGX_GCS_CHECK_OK,
                          "loaded: %s that acts as \"%V\"", report->kind,
                          &report->account);

    } else if (report->account.len) {
        ngx_gcs_check_say(report, NGX_GCS_CHECK_CREDENTIAL, NGX_GCS_CHECK_OK,
                          "loaded: %s of \"%V\"", report->kind,
                          &report->account);

    } else {
        ngx_gcs_check_say(report, NGX_GCS_CHECK_CREDENTIAL, NGX_GCS_CHECK_OK,
                          "loaded: %s", report->kind);
    }

    return ngx_http_gcs_check_file(run);
}


/* whether it could be loaded again; the one in use is not touched */

static ngx_int_t
ngx_http_gcs_check_file(ngx_http_gcs_check_run_t *run)
{
    ngx_int_t                 rc;
    ngx_str_t                 err;
    ngx_pool_t               *pool;
    ngx_gcs_source_t          copy;
    ngx_gcs_check_refusal_t   refusal;

    copy = run->identity->source;

    if (copy.file.len == 0) {
        return NGX_OK;
    }

    if (access((char *) copy.file.data, R_OK) != 0 && ngx_errno == NGX_EACCES)
    {
        /* of root alone, which is good */

        return NGX_OK;
    }

    pool = ngx_create_pool(4096, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&refusal, sizeof(ngx_gcs_check_refusal_t));
    ngx_str_null(&err);

    rc = ngx_gcs_source_load(pool, &copy, &err);

    if (rc == NGX_DECLINED) {
        refusal.text = ngx_gcs_check_clean(run->pool, &err,
                                           NGX_GCS_CHECK_ERROR_MAX);
    }

    ngx_destroy_pool(pool);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    run->report.steps[NGX_GCS_CHECK_CREDENTIAL].warning = 1;

    ngx_gcs_check_explain(&run->report, NGX_GCS_CHECK_CREDENTIAL, &refusal);
    ngx_gcs_check_because(&run->report, NGX_GCS_CHECK_CREDENTIAL,
                          "credential_replaced");
    return NGX_OK;
}


/* what is not known stays empty, and is written in capitals in commands */

void
ngx_http_gcs_check_members(ngx_http_gcs_check_run_t *run)
{
    ngx_str_t                 *email, word, member;
    ngx_gcs_check_t           *report;
    ngx_gcs_credentials_t     *cred;
    ngx_gcs_impersonation_t   *last;

    report = &run->report;
    cred = run->identity->source.cred;

    if (cred == NULL) {
        return;
    }

    report->project = ngx_gcs_check_word(&cred->project_id);
    email = ngx_http_gcs_check_email(run);

    ngx_str_null(&member);

    if (email->len) {
        word = ngx_gcs_check_word(email);
        (void) ngx_http_gcs_check_member(run->pool, "serviceAccount:", &word,
                                         "", &member);

    } else if (cred->type == NGX_GCS_EXTERNAL_ACCOUNT) {
        (void) ngx_http_gcs_check_federation(run, &member);
    }

    if (cred->impersonations.nelts) {
        last = cred->impersonations.elts;
        last += cred->impersonations.nelts - 1;

        report->account = last->email;
        report->caller = member;

        word = ngx_gcs_check_word(&last->email);

        ngx_str_null(&member);
        (void) ngx_http_gcs_check_member(run->pool, "serviceAccount:", &word,
                                         "", &member);

    } else {
        report->account = (cred->type == NGX_GCS_HMAC_KEY) ? cred->access_id
                                                           : *email;
        report->caller = member;
        word = ngx_gcs_check_word(email);
    }

    report->member = member;
    report->target = word;

    /* the metadata server's account may change with its next answer */

    if (report->account.len) {
        report->account = ngx_gcs_check_clean(run->pool, &report->account,
                                              NGX_GCS_GRANT_ACCOUNT_MAX);
    }

    if (report->target.len) {
        report->target = ngx_gcs_check_clean(run->pool, &report->target,
                                             NGX_GCS_GRANT_ACCOUNT_MAX);
    }
}


/* of the account before any impersonation; empty if it is not known */

static ngx_str_t *
ngx_http_gcs_check_email(ngx_http_gcs_check_run_t *run)
{
    ngx_str_t              *account;
    ngx_gcs_credentials_t  *cred;

    static ngx_str_t  none = ngx_null_string;

    cred = run->identity->source.cred;

    if (cred->type == NGX_GCS_SERVICE_ACCOUNT) {
        return &cred->client_email;
    }

    if (cred->type != NGX_GCS_METADATA_SERVER
        || run->identity->token == NULL)
    {
        return &none;
    }

    account = ngx_gcs_token_account(run->identity->token);

    return ngx_strlchr(account->data, account->data + account->len, '@')
           ? account : &none;
}


static ngx_int_t
ngx_http_gcs_check_member(ngx_pool_t *pool, char *prefix, ngx_str_t *name,
    char *suffix, ngx_str_t *member)
{
    u_char  *p;

    if (name->len == 0) {
        return NGX_OK;
    }

    p = ngx_pnalloc(pool, ngx_strlen(prefix) + name->len
                          + ngx_strlen(suffix));
    if (p == NULL) {
        return NGX_ERROR;
    }

    member->data = p;
    member->len = ngx_sprintf(p, "%s%V%s", prefix, name, suffix) - p;

    return NGX_OK;
}


/* "//iam.googleapis.com/projects/N/.../POOL/providers/NAME": all of a pool */

static ngx_int_t
ngx_http_gcs_check_federation(ngx_http_gcs_check_run_t *run,
    ngx_str_t *member)
{
    u_char     *p, *last;
    ngx_str_t   audience, pool;

    static u_char  host[] = "//iam.googleapis.com/";
    static u_char  providers[] = "/providers/";

    audience = ngx_gcs_check_word(&run->identity->source.cred->audience);

    if (audience.len <= sizeof(host) - 1
        || ngx_strncmp(audience.data, host, sizeof(host) - 1) != 0)
    {
        return NGX_DECLINED;
    }

    pool.data = audience.data + 2;
    last = audience.data + audience.len;

    p = ngx_strlcasestrn(pool.data, last, providers, sizeof(providers) - 2);
    if (p == NULL) {
        return NGX_DECLINED;
    }

    pool.len = p - pool.data;

    run->report.provider.data = audience.data + sizeof(host) - 1;
    run->report.provider.len = last - run->report.provider.data;

    return ngx_http_gcs_check_member(run->pool, "principalSet://", &pool,
                                     "/*", member);
}


ngx_int_t
ngx_http_gcs_check_token(ngx_http_gcs_check_run_t *run)
{
    ngx_int_t         rc;
    ngx_str_t         value;
    ngx_msec_t        left;
    ngx_gcs_token_t  *token;

    token = run->identity->token;

    if (token == NULL) {
        ngx_gcs_check_say(&run->report, NGX_GCS_CHECK_TOKEN,
                          NGX_GCS_CHECK_SKIPPED,
                          run->identity->source.cred
                          ? "each request is signed, no token is needed"
                          : "who is anonymous needs none");

        run->report.steps[NGX_GCS_CHECK_TOKEN].exempt = 1;
        run->authorized = 1;

        return NGX_OK;
    }

    rc = ngx_gcs_token_get(token, &value, &run->generation);

    if (rc == NGX_OK) {
        return ngx_http_gcs_check_token_there(run);
    }

    left = ngx_http_gcs_check_left(run, run->check->conf->token_timeout);

    if (rc == NGX_DECLINED || left == 0) {
        ngx_http_gcs_check_token_failed(run, token, NGX_GCS_CHECK_TOKEN, rc);
        return NGX_OK;
    }

    ngx_http_gcs_check_token_wait(run, token, ngx_http_gcs_check_token_handler,
                                  left);

    return NGX_AGAIN;
}


void
ngx_http_gcs_check_token_wait(ngx_http_gcs_check_run_t *run,
    ngx_gcs_token_t *token, ngx_gcs_token_handler_pt handler, ngx_msec_t left)
{
    run->waiter.handler = handler;
    run->waiter.data = run;
    run->waiter.log = ngx_cycle->log;

    ngx_gcs_token_wait(token, &run->waiter, left);

    /* the requests that wait for the run keep a worker, not the run */

    run->waiter.wait.timer.cancelable = 1;
}


static void
ngx_http_gcs_check_token_handler(ngx_gcs_token_waiter_t *waiter, ngx_int_t rc)
{
    ngx_str_t                  value;
    ngx_http_gcs_check_run_t  *run;

    run = waiter->data;

    ngx_http_gcs_check_time(run, NGX_GCS_CHECK_TOKEN);

    if (rc == NGX_OK) {
        rc = ngx_gcs_token_get(waiter->token, &value, &run->generation);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_gcs_check_token_there(run);

    } else {
        ngx_http_gcs_check_token_failed(run, waiter->token,
                                        NGX_GCS_CHECK_TOKEN, rc);
        rc = NGX_OK;
    }

    ngx_http_gcs_check_resume(run, rc);
}


static ngx_int_t
ngx_http_gcs_check_token_there(ngx_http_gcs_check_run_t *run)
{
    time_t                 left;
    ngx_gcs_token_state_t  state;

    run->authorized = 1;

    /* the metadata server has told by now whose it is */

    ngx_http_gcs_check_members(run);

    ngx_gcs_token_state(run->identity->token, &state);

    left = state.expires - ngx_time();

    ngx_gcs_check_say(&run->report, NGX_GCS_CHECK_TOKEN, NGX_GCS_CHECK_OK,
                      "there is one, it expires in %T s", ngx_max(left, 0));

    if (state.failures) {
        run->report.steps[NGX_GCS_CHECK_TOKEN].warning = 1;

        ngx_http_gcs_check_token_failed(run, run->identity->token,
                                        NGX_GCS_CHECK_TOKEN, NGX_OK);
    }

    return NGX_OK;
}


void
ngx_http_gcs_check_token_failed(ngx_http_gcs_check_run_t *run,
    ngx_gcs_token_t *token, ngx_uint_t step, ngx_int_t rc)
{
    u_char                   *p;
    ngx_str_t                *error, text, host, port;
    ngx_gcs_check_t          *report;
    ngx_gcs_check_refusal_t   refusal;

    static u_char  remedy[] = "; ";

    report = &run->report;

    ngx_memzero(&refusal, sizeof(ngx_gcs_check_refusal_t));

    if (rc != NGX_OK) {
        ngx_gcs_check_say(report, step, NGX_GCS_CHECK_FAILED,
                          rc == NGX_AGAIN
                          ? "it did not come within \"gcs_token_timeout\""
                          : "it could not be had");
    }

    if (rc == NGX_AGAIN) {
        ngx_str_set(&refusal.code, "token_timeout");

    } else {
        error = ngx_gcs_token_error(token, &refusal.code);
        text = *error;

        /* without what the log says about it: here is more room */

        p = ngx_strlcasestrn(text.data, text.data + text.len, remedy,
                             sizeof(remedy) - 2);
        if (p) {
            text.len = p - text.data;
        }

        refusal.text = ngx_gcs_check_clean(run->pool, &text,
                                           NGX_GCS_CHECK_ERROR_MAX);
    }

    host = report->host;
    port = report->port;

    ngx_http_gcs_check_token_host(run);

    ngx_gcs_check_explain(report, step, &refusal);

    report->host = host;
    report->port = port;
}


/* the token endpoint's: it is there that a connection has failed */

static void
ngx_http_gcs_check_token_host(ngx_http_gcs_check_run_t *run)
{
    size_t                  n;
    u_char                 *p, *last;
    ngx_str_t              *uri, word;
    ngx_gcs_check_t        *report;
    ngx_gcs_credentials_t  *cred;

    report = &run->report;
    cred = run->identity->source.cred;

    ngx_str_set(&report->port, "443");

    switch (cred->type) {

    case NGX_GCS_EXTERNAL_ACCOUNT:
    case NGX_GCS_EXTERNAL_USER:
        uri = &cred->sts_uri;
        break;

    case NGX_GCS_METADATA_SERVER:
        uri = &cred->metadata_host;
        ngx_str_set(&report->port, "80");
        break;

    default:
        uri = &cred->token_uri;
    }

    p = uri->data;
    last = p + uri->len;

    if (uri->len > 8 && ngx_strncmp(p, "https://", 8) == 0) {
        p += 8;

    } else if (uri->len > 7 && ngx_strncmp(p, "http://", 7) == 0) {
        p += 7;
        ngx_str_set(&report->port, "80");
    }

    for (n = 0; p + n < last && p[n] != '/' && p[n] != ':'; n++) {
        /* void */
    }

    word.data = p;
    word.len = n;

    report->host = ngx_gcs_check_word(&word);

    if (p + n < last && p[n] == ':') {
        p += n + 1;

        for (n = 0; p + n < last && p[n] >= '0' && p[n] <= '9'; n++) {
            /* void */
        }

        report->port.data = p;
        report->port.len = n;
    }
}
