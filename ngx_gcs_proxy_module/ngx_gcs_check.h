
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#ifndef _NGX_GCS_CHECK_H_INCLUDED_
#define _NGX_GCS_CHECK_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * What a check of a storage connection has found, why, and what to do about
 * it, without I/O.  All that Google says is a stranger's text: it enters the
 * report by ngx_gcs_check_clean() alone.
 */


/* the longest text of an error, and of a message, bytes */
#define NGX_GCS_CHECK_ERROR_MAX    400
#define NGX_GCS_CHECK_MESSAGE_MAX  512

/* seconds: a clock that is wrong by more is told of, and refused by Google */
#define NGX_GCS_CHECK_SKEW         60
#define NGX_GCS_CHECK_SKEW_MAX     300

/* no answer of HTTP, the error is the client's */
#define NGX_GCS_CHECK_UNANSWERED   1


typedef enum {
    NGX_GCS_CHECK_CREDENTIAL = 0,
    NGX_GCS_CHECK_TOKEN,
    NGX_GCS_CHECK_TLS,
    NGX_GCS_CHECK_CLOCK,
    NGX_GCS_CHECK_BUCKET,
    NGX_GCS_CHECK_LIST,
    NGX_GCS_CHECK_READ,
    NGX_GCS_CHECK_RANGE,
    NGX_GCS_CHECK_SIGN,
    NGX_GCS_CHECK_WRITE,
    NGX_GCS_CHECK_CORS,
    NGX_GCS_CHECK_STEPS
} ngx_gcs_check_step_e;


typedef enum {
    NGX_GCS_CHECK_SKIPPED = 0,
    NGX_GCS_CHECK_OK,
    NGX_GCS_CHECK_FAILED
} ngx_gcs_check_status_e;


typedef struct {
    ngx_uint_t                status;    /* ngx_gcs_check_status_e */
    ngx_msec_t                msec;
    ngx_str_t                 message;
    ngx_str_t                 error;     /* Google's code and words */
    char                     *cause;
    char                     *remedy;
    ngx_str_t                 command;   /* that repairs it, for a shell */
    unsigned                  required:1;
    unsigned                  exempt:1;  /* skipped, and that is no fault */
    unsigned                  warning:1; /* ok, but */
} ngx_gcs_check_step_t;


/* all strings are empty if they are not known */

typedef struct {
    ngx_pool_t               *pool;
    ngx_gcs_check_step_t      steps[NGX_GCS_CHECK_STEPS];

    ngx_str_t                 url;       /* "gs://BUCKET/PREFIX" */
    ngx_str_t                 credentials;
    char                     *kind;      /* of the credential */
    ngx_str_t                 account;
    ngx_str_t                 endpoint;  /* a URL */
    time_t                    when;      /* of the end */
    ngx_msec_t                msec;

    /* what enters commands */
    ngx_str_t                 bucket;
    ngx_str_t                 member;    /* of an IAM policy, who reads */
    ngx_str_t                 caller;    /* likewise, who asks IAM */
    ngx_str_t                 target;    /* the account that IAM acts for */
    ngx_str_t                 project;   /* of the account */
    ngx_str_t                 billed;    /* the project of requester pays */
    ngx_str_t                 host;      /* of the endpoint */
    ngx_str_t                 port;
    ngx_str_t                 provider;  /* of a federation, a full name */
    ngx_str_t                 origins;   /* JSON, of CORS */
} ngx_gcs_check_t;


/* what Google has answered; strings are clean, and may be empty */

typedef struct {
    ngx_uint_t                status;    /* of HTTP; or ..._UNANSWERED */
    ngx_str_t                 code;      /* "AccessDenied", "forbidden" */
    ngx_str_t                 text;
} ngx_gcs_check_refusal_t;


/* a page of a list, as far as it is of interest */

typedef struct {
    ngx_uint_t                count;     /* of all names */
    ngx_str_t                 name;      /* of the first worth reading */
    off_t                     size;
    ngx_str_t                 next;      /* the token of the next page */
} ngx_gcs_check_list_t;


/* ngx_gcs_check.c */

/* the names of the steps, in their order */
extern ngx_str_t  ngx_gcs_check_names[NGX_GCS_CHECK_STEPS];

/* the step of that name; NGX_ERROR: there is none */
ngx_int_t ngx_gcs_check_find(ngx_str_t *name);

/*
 * Whether the check as a whole has succeeded: every step that is required is
 * ok, or is skipped because there is nothing to be done.
 */
ngx_uint_t ngx_gcs_check_passed(ngx_gcs_check_t *check);

/* makes status and message those of the step; memory that is out shows */
void ngx_gcs_check_say(ngx_gcs_check_t *check, ngx_uint_t step,
    ngx_uint_t status, const char *fmt, ...);

/*
 * A copy of a stranger's text that is fit for a log, a terminal and a page
 * after escaping: UTF-8, one line, at most max bytes, and no word in it that
 * could be a token or a signature.  data is NULL if memory is out.
 */
ngx_str_t ngx_gcs_check_clean(ngx_pool_t *pool, ngx_str_t *text, size_t max);

/* the same with whitespace and what a shell understands refused: or empty */
ngx_str_t ngx_gcs_check_word(ngx_str_t *text);

/*
 * The one of whom Cloud Storage says that he "does not have" a permission, as
 * a member of a policy; or empty.
 */
ngx_str_t ngx_gcs_check_who(ngx_pool_t *pool, ngx_str_t *text);

/*
 * How far the clock is ahead of that of the answer with this "Date", seconds.
 * NGX_DECLINED: it is no date.
 */
ngx_int_t ngx_gcs_check_skew(ngx_str_t *date, time_t now, time_t *skew);

/*
 * Whether it is the "Content-Range" of the first byte of an object with size
 * bytes; size is -1 if it is not known.
 */
ngx_uint_t ngx_gcs_check_first_byte(ngx_str_t *value, off_t size);

/*
 * Judges the headers of CORS of an answer to a request of origin.  NGX_OK;
 * NGX_DECLINED, it may not read; NGX_AGAIN: it may, but not see
 * "Content-Range".
 */
ngx_int_t ngx_gcs_check_cors(ngx_str_t *origin, ngx_str_t *allowed,
    ngx_str_t *exposed);


/* ngx_gcs_check_answer.c */

/*
 * Reads an error in XML, in JSON or as plain text.  NGX_ERROR: memory is out.
 */
ngx_int_t ngx_gcs_check_refusal(ngx_pool_t *pool, ngx_uint_t status,
    ngx_str_t *body, ngx_gcs_check_refusal_t *refusal);

/*
 * Reads a page of a list, of the JSON API or, with xml set, of the XML API
 * with "encoding-type=url".  Names that end with a slash, and objects without
 * a byte, are not worth reading if there is another.  NGX_DECLINED: it is no
 * list; NGX_ERROR: memory is out.
 */
ngx_int_t ngx_gcs_check_list(ngx_pool_t *pool, ngx_str_t *body,
    ngx_uint_t xml, ngx_gcs_check_list_t *list);

/* whether it is a resource of the JSON API that has this name */
ngx_uint_t ngx_gcs_check_named(ngx_str_t *body, ngx_str_t *name);

/*
 * Reads an answer of testIamPermissions: which of names, up to NULL, are held
 * as bits.  NGX_DECLINED: it is none.
 */
ngx_int_t ngx_gcs_check_permissions(ngx_str_t *body, char **names,
    ngx_uint_t *held);


/* ngx_gcs_check_cause.c */

/*
 * Makes the step's error, cause, remedy and command from what is refused; the
 * step's status is the caller's business.
 */
void ngx_gcs_check_explain(ngx_gcs_check_t *check, ngx_uint_t step,
    ngx_gcs_check_refusal_t *refusal);

/* the same for a cause by its name, without an error */
void ngx_gcs_check_because(ngx_gcs_check_t *check, ngx_uint_t step,
    char *name);


/* ngx_gcs_check_text.c */

/*
 * The report as JSON or as a page of HTML, from pool; now tells how old it is.
 * A brief one is for strangers: of the steps it has what is the same for
 * everybody's, and nothing that names an account, a bucket or an object, or is
 * in Google's words.  NGX_ERROR: memory is out.
 */
ngx_int_t ngx_gcs_check_json(ngx_pool_t *pool, ngx_gcs_check_t *check,
    time_t now, ngx_uint_t brief, ngx_str_t *out);
ngx_int_t ngx_gcs_check_html(ngx_pool_t *pool, ngx_gcs_check_t *check,
    time_t now, ngx_uint_t brief, ngx_str_t *out);


#endif /* _NGX_GCS_CHECK_H_INCLUDED_ */
