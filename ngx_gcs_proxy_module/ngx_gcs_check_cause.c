
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_check_cause.h"


static ngx_gcs_check_cause_t *ngx_gcs_check_cause(ngx_uint_t step,
    ngx_gcs_check_refusal_t *refusal);
static ngx_uint_t ngx_gcs_check_contains(ngx_str_t *text, char *part);
static void ngx_gcs_check_apply(ngx_gcs_check_t *check, ngx_uint_t step,
    ngx_gcs_check_cause_t *row);
static void ngx_gcs_check_command(ngx_gcs_check_t *check, char *template,
    ngx_str_t *command);
static ngx_str_t ngx_gcs_check_value(ngx_gcs_check_t *check, char letter);
static void ngx_gcs_check_error(ngx_gcs_check_t *check, ngx_uint_t step,
    ngx_gcs_check_refusal_t *refusal);


void
ngx_gcs_check_explain(ngx_gcs_check_t *check, ngx_uint_t step,
    ngx_gcs_check_refusal_t *refusal)
{
    ngx_gcs_check_error(check, step, refusal);
    ngx_gcs_check_apply(check, step, ngx_gcs_check_cause(step, refusal));
}


void
ngx_gcs_check_because(ngx_gcs_check_t *check, ngx_uint_t step, char *name)
{
    ngx_gcs_check_cause_t  *row;

    for (row = ngx_gcs_check_causes; row->steps; row++) {
        if (row->code && ngx_strcmp(row->code, name) == 0) {
            ngx_gcs_check_apply(check, step, row);
            return;
        }
    }
}


static void
ngx_gcs_check_apply(ngx_gcs_check_t *check, ngx_uint_t step,
    ngx_gcs_check_cause_t *row)
{
    ngx_gcs_check_step_t  *s;

    s = &check->steps[step];

    s->cause = row->cause;
    s->remedy = row->remedy;

    ngx_str_null(&s->command);

    if (row->command) {
        ngx_gcs_check_command(check, row->command, &s->command);
    }
}


/* the last row of the table is that of what is not known */

static ngx_gcs_check_cause_t *
ngx_gcs_check_cause(ngx_uint_t step, ngx_gcs_check_refusal_t *refusal)
{
    ngx_gcs_check_cause_t  *row;

    for (row = ngx_gcs_check_causes; row->steps; row++) {

        if (!(row->steps & ((ngx_uint_t) 1 << step))) {
            continue;
        }

        if (row->status
            && row->status != refusal->status
            && !(row->status < 10 && refusal->status / 100 == row->status
                 && row->status != NGX_GCS_CHECK_UNANSWERED))
        {
            continue;
        }

        if (row->code
            && (refusal->code.len != ngx_strlen(row->code)
                || ngx_strncmp(refusal->code.data, row->code,
                               refusal->code.len)
                   != 0))
        {
            continue;
        }

        if (row->text && !ngx_gcs_check_contains(&refusal->text, row->text)) {
            continue;
        }

        return row;
    }

    return row;
}


static ngx_uint_t
ngx_gcs_check_contains(ngx_str_t *text, char *part)
{
    size_t  len;

    len = ngx_strlen(part);

    return text->len >= len
           && ngx_strlcasestrn(text->data, text->data + text->len,
                               (u_char *) part, len - 1)
              != NULL;
}


/*
 * "$X" is a value, in which a shell finds nothing to expand: those that might
 * have it were refused by ngx_gcs_check_word().
 */

static void
ngx_gcs_check_command(ngx_gcs_check_t *check, char *template,
    ngx_str_t *command)
{
    char       *t;
    u_char     *p;
    size_t      len;
    ngx_str_t   value;

    len = 0;

    for (t = template; *t; t++) {
        if (*t == '$') {
            value = ngx_gcs_check_value(check, *++t);
            len += value.len;

        } else {
            len++;
        }
    }

    p = ngx_pnalloc(check->pool, len);
    if (p == NULL) {
        return;
    }

    command->data = p;

    for (t = template; *t; t++) {
        if (*t == '$') {
            value = ngx_gcs_check_value(check, *++t);
            p = ngx_cpymem(p, value.data, value.len);

        } else {
            *p++ = *t;
        }
    }

    command->len = p - command->data;
}


static ngx_str_t
ngx_gcs_check_value(ngx_gcs_check_t *check, char letter)
{
    ngx_str_t  *value, name;

    switch (letter) {

    case 'B':
        ngx_str_set(&name, "BUCKET");
        value = &check->bucket;
        break;

    case 'M':
        ngx_str_set(&name, "MEMBER");
        value = &check->member;
        break;

    case 'C':
        ngx_str_set(&name, "CALLER");
        value = &check->caller;
        break;

    case 'T':
        ngx_str_set(&name, "ACCOUNT");
        value = &check->target;
        break;

    case 'P':
        ngx_str_set(&name, "PROJECT");
        value = &check->project;
        break;

    case 'U':
        ngx_str_set(&name, "PROJECT");
        value = &check->billed;
        break;

    case 'H':
        ngx_str_set(&name, "HOST");
        value = &check->host;
        break;

    case 'N':
        ngx_str_set(&name, "PORT");
        value = &check->port;
        break;

    case 'W':
        ngx_str_set(&name, "PROVIDER");
        value = &check->provider;
        break;

    default: /* 'O' */
        ngx_str_set(&name, "[]");
        value = &check->origins;
        break;
    }

    return value->len ? *value : name;
}


/* "403 forbidden: X does not have ..." */

static void
ngx_gcs_check_error(ngx_gcs_check_t *check, ngx_uint_t step,
    ngx_gcs_check_refusal_t *refusal)
{
    u_char                *p;
    ngx_gcs_check_step_t  *s;

    s = &check->steps[step];

    ngx_str_null(&s->error);

    if (refusal->status <= NGX_GCS_CHECK_UNANSWERED) {
        s->error = refusal->text;
        return;
    }

    p = ngx_pnalloc(check->pool, NGX_INT_T_LEN + 1 + refusal->code.len
                                 + sizeof(": ") - 1 + refusal->text.len);
    if (p == NULL) {
        return;
    }

    s->error.data = p;

    p = ngx_sprintf(p, "%ui", refusal->status);

    if (refusal->code.len) {
        p = ngx_sprintf(p, " %V", &refusal->code);
    }

    if (refusal->text.len) {
        p = ngx_sprintf(p, ": %V", &refusal->text);
    }

    s->error.len = p - s->error.data;
}
