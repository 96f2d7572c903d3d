
/*
 * Copyright (C) the ngx_gcs_proxy_module authors
 */


#include <ngx_config.h>
#include <ngx_core.h>

#include "ngx_gcs_list_parts.h"


/*
 * A page that needs nothing but itself: no script, no font, no image.  It
 * follows the colours of the reader's system, and is used with the keyboard
 * as any other text with links.
 */


/* folders above this one that are shown, the innermost ones */
#define NGX_GCS_LIST_CRUMBS  32


static void ngx_gcs_list_html_crumbs(ngx_gcs_list_page_t *page,
    ngx_gcs_list_out_t *out);
static void ngx_gcs_list_html_form(ngx_gcs_list_page_t *page,
    ngx_gcs_list_out_t *out);
static void ngx_gcs_list_html_hidden(ngx_gcs_list_out_t *out, char *start,
    ngx_str_t *value);


static char  ngx_gcs_list_html_start[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\">\n"
    "<head>\n"
    "<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n"
    "<meta name=\"robots\" content=\"noindex\">\n"
    "<title>";


static char  ngx_gcs_list_html_style[] =
    "</title>\n"
    "<style>\n"
    ":root{color-scheme:light dark;--fg:#1f2328;--bg:#fff;--dim:#57606a;"
    "--line:#d0d7de;--link:#0550ae;--over:#f3f5f8}\n"
    "@media(prefers-color-scheme:dark){:root{--fg:#e6edf3;--bg:#0d1117;"
    "--dim:#9aa4af;--line:#30363d;--link:#79b8ff;--over:#161b22}}\n"
    "body{margin:0 auto;padding:1rem;max-width:70rem;color:var(--fg);"
    "background:var(--bg);font:1rem/1.5 system-ui,sans-serif}\n"
    "a{color:var(--link);text-decoration:none}\n"
    "a:hover{text-decoration:underline}\n"
    "a:focus-visible,input:focus-visible,button:focus-visible"
    "{outline:3px solid var(--link);outline-offset:2px}\n"
    "nav ol{margin:0;padding:0;list-style:none;display:flex;flex-wrap:wrap}\n"
    "nav li{min-width:0;overflow-wrap:anywhere}\n"
    "nav li+li::before{content:\"/\";margin:0 .4em;color:var(--dim)}\n"
    "h1{font-size:1.4rem;margin:.5rem 0;overflow-wrap:anywhere}\n"
    "form{margin:1rem 0;display:flex;gap:.5rem;flex-wrap:wrap;"
    "align-items:center}\n"
    "input{min-width:0;max-width:100%;box-sizing:border-box}\n"
    "input,button{font:inherit;color:inherit;background:var(--bg);"
    "border:1px solid var(--line);border-radius:.3rem;padding:.2rem .6rem}\n"
    "table{width:100%;border-collapse:collapse}\n"
    "th,td{text-align:left;padding:.3rem .6rem;vertical-align:top;"
    "border-bottom:1px solid var(--line)}\n"
    "th{color:var(--dim);font-weight:600}\n"
    "td{overflow-wrap:anywhere}\n"
    ".n{text-align:right;white-space:nowrap;"
    "font-variant-numeric:tabular-nums}\n"
    "time{white-space:nowrap;font-variant-numeric:tabular-nums}\n"
    "tbody tr:hover,tbody tr:focus-within{background:var(--over)}\n"
    "td+td,p{color:var(--dim)}\n"
    "@media(max-width:40rem){th:nth-child(4),td:nth-child(4)"
    "{display:none}th,td{padding:.3rem .25rem}}\n"
    "@media(max-width:30rem){time{white-space:normal}}\n"
    "</style>\n"
    "</head>\n"
    "<body>\n"
    "<nav aria-label=\"Folders\">\n"
    "<ol>\n";


static char  ngx_gcs_list_html_table[] =
    "<table>\n"
    "<thead>\n"
    "<tr><th scope=\"col\">Name</th><th scope=\"col\" class=\"n\">Size</th>"
    "<th scope=\"col\">Changed (UTC)</th><th scope=\"col\">Type</th></tr>\n"
    "</thead>\n"
    "<tbody>\n";


void
ngx_gcs_list_html_head(ngx_gcs_list_page_t *page, ngx_gcs_list_out_t *out)
{
    ngx_gcs_list_out(out, ngx_gcs_list_html_start);
    ngx_gcs_list_out_html(out, page->root.data, page->root.len);
    ngx_gcs_list_out(out, "/");
    ngx_gcs_list_out_html(out, page->path.data, page->path.len);
    ngx_gcs_list_out(out, ngx_gcs_list_html_style);

    ngx_gcs_list_html_crumbs(page, out);
    ngx_gcs_list_html_form(page, out);

    ngx_gcs_list_out(out, ngx_gcs_list_html_table);
}


/* the folders above are found by "../", wherever the outermost one is */

static void
ngx_gcs_list_html_crumbs(ngx_gcs_list_page_t *page, ngx_gcs_list_out_t *out)
{
    u_char      *p, *last, *start;
    ngx_str_t    label;
    ngx_uint_t   i, depth;

    label = page->root;

    depth = 0;
    start = page->path.data;
    last = page->path.len ? start + page->path.len : start;

    for (p = start; p < last; p++) {
        depth += (*p == '/');
    }

    for (p = start; depth > NGX_GCS_LIST_CRUMBS; p++) {

        if (*p == '/') {
            depth--;
            start = p + 1;
            ngx_str_set(&label, "...");
        }
    }

    for ( ;; ) {
        ngx_gcs_list_out(out, depth ? "<li><a href=\""
                                    : "<li aria-current=\"page\">");

        for (i = 0; i < depth; i++) {
            ngx_gcs_list_out(out, "../");
        }

        ngx_gcs_list_out(out, depth ? "\">" : "");
        ngx_gcs_list_out_html(out, label.data, label.len);
        ngx_gcs_list_out(out, depth ? "</a></li>\n" : "</li>\n");

        if (depth == 0) {
            break;
        }

        depth--;

        p = ngx_strlchr(start, last, '/');

        label.data = start;
        label.len = p - start;
        start = p + 1;

        if (label.len == 0) {
            ngx_str_set(&label, "(no name)");
        }
    }

    ngx_gcs_list_out(out, "</ol>\n</nav>\n<main>\n<h1>");
    ngx_gcs_list_out_html(out, label.data, label.len);
    ngx_gcs_list_out(out, "</h1>\n");
}


static void
ngx_gcs_list_html_form(ngx_gcs_list_page_t *page, ngx_gcs_list_out_t *out)
{
    ngx_gcs_list_out(out, "<form role=\"search\">\n"
                     "<label for=\"q\">Names with</label>\n");

    ngx_gcs_list_html_hidden(out,
                             "<input id=\"q\" name=\"q\" type=\"search\" "
                             "autocomplete=\"off\" value=\"",
                             &page->filter);

    if (page->narrow.len) {
        ngx_gcs_list_html_hidden(out,
                                 "<input name=\"prefix\" type=\"hidden\" "
                                 "value=\"", &page->narrow);
    }

    ngx_gcs_list_out(out, "<button>Filter</button>\n</form>\n");

    if (page->filter.len || page->narrow.len) {
        ngx_gcs_list_out(out, "<p>A part of the folder. "
                         "<a href=\"?\">Show all of it</a></p>\n");
    }
}


static void
ngx_gcs_list_html_hidden(ngx_gcs_list_out_t *out, char *start,
    ngx_str_t *value)
{
    ngx_gcs_list_out(out, start);
    ngx_gcs_list_out_html(out, value->data, value->len);
    ngx_gcs_list_out(out, "\">\n");
}


void
ngx_gcs_list_html_item(ngx_gcs_list_page_t *page, ngx_gcs_list_entry_t *entry,
    ngx_gcs_list_out_t *out)
{
    u_char      *p;
    ngx_str_t    rest;
    ngx_uint_t   reachable;

    rest = ngx_gcs_list_rest(page, entry);
    reachable = ngx_gcs_list_reachable(page, entry);

    ngx_gcs_list_out(out, "<tr><td>");

    if (reachable) {
        ngx_gcs_list_out(out, "<a href=\"");
        ngx_gcs_list_out_link(page, &rest, out);
        ngx_gcs_list_out(out, "\">");
    }

    ngx_gcs_list_out_html(out, rest.data, rest.len);
    ngx_gcs_list_out(out, reachable ? "</a></td><td class=\"n\">"
                                    : "</td><td class=\"n\">");

    if (entry->size >= 0) {
        ngx_gcs_list_out(out, "<data value=\"");
        ngx_gcs_list_out_number(out, entry->size);
        ngx_gcs_list_out(out, "\">");
        ngx_gcs_list_out_size(out, entry->size);
        ngx_gcs_list_out(out, "</data>");
    }

    ngx_gcs_list_out(out, "</td><td>");

    /* its form has been checked */

    if (entry->updated.len) {
        p = entry->updated.data;

        ngx_gcs_list_out(out, "<time datetime=\"");
        ngx_gcs_list_out_html(out, p, entry->updated.len);
        ngx_gcs_list_out(out, "\">");
        ngx_gcs_list_out_html(out, p, 10);
        ngx_gcs_list_out(out, " ");
        ngx_gcs_list_out_html(out, p + 11, 5);
        ngx_gcs_list_out(out, "</time>");
    }

    ngx_gcs_list_out(out, "</td><td>");

    if (entry->folder) {
        ngx_gcs_list_out(out, "folder");

    } else {
        ngx_gcs_list_out_html(out, entry->content_type.data,
                              entry->content_type.len);
    }

    ngx_gcs_list_out(out, "</td></tr>\n");
}


void
ngx_gcs_list_html_tail(ngx_gcs_list_page_t *page, ngx_str_t *token,
    ngx_gcs_list_out_t *out)
{
    ngx_gcs_list_out(out, "</tbody>\n</table>\n<p>");

    if (page->count == 0) {
        ngx_gcs_list_out(out, "Nothing here");

    } else {
        ngx_gcs_list_out_number(out, page->count);
        ngx_gcs_list_out(out, page->count == 1 ? " entry" : " entries");
    }

    ngx_gcs_list_out(out, token->len ? ", and there is more.</p>\n"
                                     : ".</p>\n");

    if (token->len) {
        ngx_gcs_list_out(out, "<p><a rel=\"next\" href=\"?token=");
        ngx_gcs_list_out_query(out, token->data, token->len);

        if (page->narrow.len) {
            ngx_gcs_list_out(out, "&amp;prefix=");
            ngx_gcs_list_out_query(out, page->narrow.data, page->narrow.len);
        }

        if (page->filter.len) {
            ngx_gcs_list_out(out, "&amp;q=");
            ngx_gcs_list_out_query(out, page->filter.data, page->filter.len);
        }

        if (page->limit) {
            ngx_gcs_list_out(out, "&amp;limit=");
            ngx_gcs_list_out_number(out, page->limit);
        }

        ngx_gcs_list_out(out, "\">Next page</a></p>\n");
    }

    ngx_gcs_list_out(out, "</main>\n</body>\n</html>\n");
}
