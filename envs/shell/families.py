"""All families of tasks in a file system by name."""

from types import MappingProxyType

from . import families_files, families_questions, families_system, families_tables, families_text
from .exercise import Family

FAMILIES = MappingProxyType(
    {
        family.__name__: family
        for family in (
            families_questions.count_lines,
            families_questions.largest_file,
            families_questions.newest_file,
            families_questions.find_setting,
            families_questions.most_frequent,
            families_questions.twin_files,
            families_questions.folder_sizes,
            families_questions.follow_links,
            families_questions.unfinished_jobs,
            families_questions.slowest_request,
            families_questions.login_accounts,
            families_questions.scheduled_command,
            families_text.replace_word,
            families_text.sort_table,
            families_text.drop_repeated_lines,
            families_text.strip_comments,
            families_text.line_endings,
            families_text.recode_latin1,
            families_text.fill_template,
            families_text.number_paragraphs,
            families_text.apply_edits,
            families_text.changelog_entry,
            families_tables.join_tables,
            families_tables.only_in_first,
            families_tables.group_sums,
            families_tables.select_columns,
            families_tables.csv_to_json,
            families_tables.json_setting,
            families_tables.transpose,
            families_files.rename_suffix,
            families_files.rename_by_date,
            families_files.sort_into_folders,
            families_files.delete_large,
            families_files.delete_older,
            families_files.pack_archive,
            families_files.unpack_archives,
            families_files.split_file,
            families_files.join_parts,
            families_files.script_permissions,
            families_files.retarget_links,
            families_files.flatten,
            families_files.drop_duplicates,
            families_files.mirror,
            families_files.remove_empty,
            families_files.restore_backups,
            families_files.make_folders,
            families_system.set_in_section,
            families_system.complete_config,
            families_system.repair_config,
            families_system.merge_env,
            families_system.disable_jobs,
            families_system.top_clients,
            families_system.log_window,
            families_system.check_sums,
            families_system.write_sums,
            families_system.rotate_logs,
            families_system.compare_trees,
            families_system.split_accounts,
        )
    }
)
"""Name -> family."""

ABOUT_METADATA = ("newest_file", "delete_older", "script_permissions")
"""Families that need permissions or times of files, which some sandboxes let nobody set."""

__all__ = ["ABOUT_METADATA", "FAMILIES", "Family"]
