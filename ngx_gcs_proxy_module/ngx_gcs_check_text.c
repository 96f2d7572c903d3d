
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_check.h"
#include "ngx_gcs_metrics.h"
#include "ngx_gcs_sign.h"


static void ngx_gcs_check_json_step(ngx_gcs_metrics_text_t *text,
    ngx_gcs_check_step_t *step, ngx_str_t *name, ngx_uint_t brief);
static void ngx_gcs_check_json_string(ngx_gcs_metrics_text_t *text,
    char *name, ngx_str_t *value);
static void ngx_gcs_check_json_time(ngx_gcs_metrics_text_t *text, char *name,
    time_t when);
static void ngx_gcs_check_html_whose(ngx_gcs_metrics_text_t *text,
    ngx_gcs_check_t *check);
static void ngx_gcs_check_html_step(ngx_gcs_metrics_text_t *text,
    ngx_gcs_check_step_t *step, ngx_str_t *name, ngx_uint_t brief);
static void ngx_gcs_check_html_part(ngx_gcs_metrics_text_t *text,
    char *before, ngx_str_t *value, char *after);
static void ngx_gcs_check_html_escape(ngx_gcs_metrics_text_t *text,
    ngx_str_t *value);
static ngx_str_t ngx_gcs_check_string(char *string);
static ngx_uint_t ngx_gcs_check_told(ngx_gcs_metrics_text_t *text,
    ngx_str_t *value, ngx_str_t *clean);
static char *ngx_gcs_check_state(ngx_gcs_check_step_t *step);


/* no script, nothing from elsewhere */

static char  ngx_gcs_check_head[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n"
    "<title>gcs_check</title>\n<style>\n"
    ":root { --line: #8884; --ok: #18794e; --failed: #c62a2f;\n"
    "    --skipped: #687076; --warning: #8f5300; }\n"
    "@media (prefers-color-scheme: dark) {\n"
    "    :root { --ok: #4cc38a; --failed: #ff8b8b; --skipped: #9ba1a6;\n"
    "        --warning: #f1a10d; }\n}\n"
    "body { font: 16px/1.5 system-ui, sans-serif; max-width: 60em;\n"
    "    margin: 2em auto; padding: 0 1em; }\n"
    "table { border-collapse: collapse; width: 100%; }\n"
    "th, td { text-align: left; vertical-align: top; padding: .5em;\n"
    "    border-top: 1px solid var(--line); overflow-wrap: anywhere; }\n"
    "th { white-space: nowrap; } td.ms { text-align: right; }\n"
    "p { margin: .25em 0; }\n"
    "pre { white-space: pre-wrap; border: 1px solid var(--line);\n"
    "    border-radius: 4px; padding: .5em; margin: .5em 0; }\n"
    ".ok { color: var(--ok); } .failed { color: var(--failed); }\n"
    ".skipped { color: var(--skipped); } "
    ".warning { color: var(--warning); }\n"
    ".ok, .failed, .warning { font-weight: 600; }\n"
    "</style>\n</head>\n<body>\n";


ngx_int_t
ngx_gcs_check_json(ngx_pool_t *pool, ngx_gcs_check_t *check, time_t now,
    ngx_uint_t brief, ngx_str_t *out)
{
    ngx_str_t                kind;
    ngx_uint_t               i;
    ngx_gcs_metrics_text_t   text;

    ngx_memzero(&text, sizeof(ngx_gcs_metrics_text_t));

    text.pool = pool;

    kind = ngx_gcs_check_string(check->kind);

    ngx_gcs_metrics_put(&text, "{\"status\":\"");
    ngx_gcs_metrics_put(&text, ngx_gcs_check_passed(check) ? "ok" : "failed");
    ngx_gcs_metrics_put(&text, "\"");

    if (!brief) {
        ngx_gcs_check_json_string(&text, "url", &check->url);
        ngx_gcs_check_json_string(&text, "credentials", &check->credentials);
        ngx_gcs_check_json_string(&text, "type", &kind);
        ngx_gcs_check_json_string(&text, "account", &check->account);
        ngx_gcs_check_json_string(&text, "endpoint", &check->endpoint);
    }

    ngx_gcs_check_json_time(&text, "checked", check->when);

    ngx_gcs_metrics_put(&text, ",\"age\":");
    ngx_gcs_metrics_number(&text, ngx_max(now - check->when, 0));
    ngx_gcs_metrics_put(&text, ",\"ms\":");
    ngx_gcs_metrics_number(&text, check->msec);
    ngx_gcs_metrics_put(&text, ",\n\"steps\":[");

    for (i = 0; i < NGX_GCS_CHECK_STEPS; i++) {
        ngx_gcs_metrics_put(&text, i ? ",\n" : "\n");
        ngx_gcs_check_json_step(&text, &check->steps[i],
                                &ngx_gcs_check_names[i], brief);
    }

    ngx_gcs_metrics_put(&text, "]}\n");

    return ngx_gcs_metrics_text(&text, out);
}


static void
ngx_gcs_check_json_step(ngx_gcs_metrics_text_t *text,
    ngx_gcs_check_step_t *step, ngx_str_t *name, ngx_uint_t brief)
{
    ngx_str_t  cause, remedy;

    static char  *states[] = { "skipped", "ok", "failed" };

    cause = ngx_gcs_check_string(step->cause);
    remedy = ngx_gcs_check_string(step->remedy);

    ngx_gcs_metrics_put(text, "{\"step\":\"");
    ngx_gcs_metrics_bytes(text, name->data, name->len);
    ngx_gcs_metrics_put(text, "\",\"status\":\"");
    ngx_gcs_metrics_put(text, states[step->status]);
    ngx_gcs_metrics_put(text, "\",\"required\":");
    ngx_gcs_metrics_put(text, step->required ? "true" : "false");

    if (step->warning) {
        ngx_gcs_metrics_put(text, ",\"warning\":true");
    }

    ngx_gcs_metrics_put(text, ",\"ms\":");
    ngx_gcs_metrics_number(text, step->msec);

    if (!brief) {
        ngx_gcs_check_json_string(text, "message", &step->message);
        ngx_gcs_check_json_string(text, "error", &step->error);
    }

    ngx_gcs_check_json_string(text, "cause", &cause);
    ngx_gcs_check_json_string(text, "remedy", &remedy);

    if (!brief) {
        ngx_gcs_check_json_string(text, "command", &step->command);
    }

    ngx_gcs_metrics_put(text, "}");
}


static void
ngx_gcs_check_json_string(ngx_gcs_metrics_text_t *text, char *name,
    ngx_str_t *value)
{
    ngx_str_t  clean;

    if (!ngx_gcs_check_told(text, value, &clean)) {
        return;
    }

    ngx_gcs_metrics_put(text, ",\"");
    ngx_gcs_metrics_put(text, name);
    ngx_gcs_metrics_put(text, "\":\"");
    ngx_gcs_metrics_escape(text, &clean, 1);
    ngx_gcs_metrics_put(text, "\"");
}


/* RFC 3339 */

static void
ngx_gcs_check_json_time(ngx_gcs_metrics_text_t *text, char *name, time_t when)
{
    u_char      *p, *d;
    u_char       date[NGX_GCS_SIGN_DATE_LEN];
    u_char       buf[sizeof("1970-01-01T00:00:00Z")];
    ngx_str_t    value;

    ngx_gcs_sign_date(when, date);

    d = date;

    p = ngx_cpymem(buf, d, 4);
    *p++ = '-';
    p = ngx_cpymem(p, d + 4, 2);
    *p++ = '-';
    p = ngx_cpymem(p, d + 6, 5);
    *p++ = ':';
    p = ngx_cpymem(p, d + 11, 2);
    *p++ = ':';
    p = ngx_cpymem(p, d + 13, 3);

    value.data = buf;
    value.len = p - buf;

    ngx_gcs_check_json_string(text, name, &value);
}


ngx_int_t
ngx_gcs_check_html(ngx_pool_t *pool, ngx_gcs_check_t *check, time_t now,
    ngx_uint_t brief, ngx_str_t *out)
{
    char                    *state;
    ngx_str_t                title;
    ngx_uint_t               i;
    ngx_gcs_metrics_text_t   text;

    ngx_memzero(&text, sizeof(ngx_gcs_metrics_text_t));

    text.pool = pool;

    title = brief ? ngx_gcs_check_string("gcs_check") : check->url;
    state = ngx_gcs_check_passed(check) ? "ok" : "failed";

    ngx_gcs_metrics_put(&text, ngx_gcs_check_head);

    ngx_gcs_check_html_part(&text, "<h1>", &title, ": <span class=\"");
    ngx_gcs_metrics_put(&text, state);
    ngx_gcs_metrics_put(&text, "\">");
    ngx_gcs_metrics_put(&text, state);
    ngx_gcs_metrics_put(&text, "</span></h1>\n<p>");

    if (!brief) {
        ngx_gcs_check_html_whose(&text, check);
    }

    ngx_gcs_metrics_put(&text, "Checked ");
    ngx_gcs_metrics_number(&text, ngx_max(now - check->when, 0));
    ngx_gcs_metrics_put(&text, " s ago, in ");
    ngx_gcs_metrics_number(&text, check->msec);
    ngx_gcs_metrics_put(&text, " ms.</p>\n<table>\n");

    for (i = 0; i < NGX_GCS_CHECK_STEPS; i++) {
        ngx_gcs_check_html_step(&text, &check->steps[i],
                                &ngx_gcs_check_names[i], brief);
    }

    ngx_gcs_metrics_put(&text, "</table>\n</body>\n</html>\n");

    return ngx_gcs_metrics_text(&text, out);
}


static void
ngx_gcs_check_html_whose(ngx_gcs_metrics_text_t *text, ngx_gcs_check_t *check)
{
    ngx_str_t  kind;

    kind = ngx_gcs_check_string(check->kind);

    ngx_gcs_check_html_part(text, "Credentials <b>", &check->credentials,
                            "</b>");
    ngx_gcs_check_html_part(text, ", ", &kind, "");
    ngx_gcs_check_html_part(text, ", ", &check->account, "");
    ngx_gcs_check_html_part(text, "; endpoint ", &check->endpoint, "");

    ngx_gcs_metrics_put(text, ". ");
}


static void
ngx_gcs_check_html_step(ngx_gcs_metrics_text_t *text,
    ngx_gcs_check_step_t *step, ngx_str_t *name, ngx_uint_t brief)
{
    char       *state;
    ngx_str_t   cause, remedy;

    state = ngx_gcs_check_state(step);
    cause = ngx_gcs_check_string(step->cause);
    remedy = ngx_gcs_check_string(step->remedy);

    ngx_gcs_check_html_part(text, "<tr><th scope=\"row\">", name, "");

    if (step->required) {
        ngx_gcs_metrics_put(text, " <small>(required)</small>");
    }

    ngx_gcs_metrics_put(text, "</th><td class=\"");
    ngx_gcs_metrics_put(text, state);
    ngx_gcs_metrics_put(text, "\">");
    ngx_gcs_metrics_put(text, state);
    ngx_gcs_metrics_put(text, "</td><td>");

    if (!brief) {
        ngx_gcs_check_html_part(text, "<p>", &step->message, "</p>");
        ngx_gcs_check_html_part(text, "<p><code>", &step->error,
                                "</code></p>");
    }

    ngx_gcs_check_html_part(text, "<p>", &cause, "</p>");
    ngx_gcs_check_html_part(text, "<p>", &remedy, "</p>");

    if (!brief) {
        ngx_gcs_check_html_part(text, "<pre>", &step->command, "</pre>");
    }

    ngx_gcs_metrics_put(text, "</td><td class=\"ms\">");
    ngx_gcs_metrics_number(text, step->msec);
    ngx_gcs_metrics_put(text, "&nbsp;ms</td></tr>\n");
}


static void
ngx_gcs_check_html_part(ngx_gcs_metrics_text_t *text, char *before,
    ngx_str_t *value, char *after)
{
    ngx_str_t  clean;

    if (!ngx_gcs_check_told(text, value, &clean)) {
        return;
    }

    ngx_gcs_metrics_put(text, before);
    ngx_gcs_check_html_escape(text, &clean);
    ngx_gcs_metrics_put(text, after);
}


static void
ngx_gcs_check_html_escape(ngx_gcs_metrics_text_t *text, ngx_str_t *value)
{
    u_char  *p, *last;

    p = value->data;
    last = p + value->len;

    for ( /* void */ ; p < last; p++) {

        switch (*p) {

        case '<':
            ngx_gcs_metrics_put(text, "&lt;");
            break;

        case '>':
            ngx_gcs_metrics_put(text, "&gt;");
            break;

        case '&':
            ngx_gcs_metrics_put(text, "&amp;");
            break;

        case '"':
            ngx_gcs_metrics_put(text, "&quot;");
            break;

        case '\'':
            ngx_gcs_metrics_put(text, "&#39;");
            break;

        default:
            ngx_gcs_metrics_bytes(text, p, 1);
        }
    }
}


/* what is to be written of a value; what is not known is not there */

static ngx_uint_t
ngx_gcs_check_told(ngx_gcs_metrics_text_t *text, ngx_str_t *value,
    ngx_str_t *clean)
{
    if (value->len == 0) {
        return 0;
    }

    *clean = ngx_gcs_metrics_clean(text->pool, value);

    if (clean->data == NULL) {
        text->failed = 1;
        return 0;
    }

    return 1;
}


static char *
ngx_gcs_check_state(ngx_gcs_check_step_t *step)
{
    switch (step->status) {

    case NGX_GCS_CHECK_OK:
        return step->warning ? "warning" : "ok";

    case NGX_GCS_CHECK_FAILED:
        return "failed";

    default:
        return "skipped";
    }
}


static ngx_str_t
ngx_gcs_check_string(char *string)
{
    ngx_str_t  text;

    text.data = (u_char *) (string ? string : "");
    text.len = ngx_strlen(text.data);

    return text;
}
